//! A stack of its own for each fiber: the one place that switches stacks.
#![expect(unsafe_code, reason = "the running coroutine's yielder is reached through a raw pointer")]

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ptr;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine as Switched, CoroutineResult, Yielder};

/// Address space of a stack. Only pages that were touched cost memory.
const STACK_BYTES: usize = 1 << 20;
/// Stacks that a thread keeps for later: one simulation has some dozens of fibers.
const POOL_MAX: usize = 256;

thread_local! {
    /// The yielder of the coroutine whose stack this thread is on; null on its own stack.
    static RUNNING: Cell<*const Yielder<(), ()>> = const { Cell::new(ptr::null()) };
    static POOL: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
}

/// A function that runs on a stack of its own and can stop in the middle of any call.
pub(super) struct Coroutine {
    /// `None` once it has returned: the stack is back in the pool.
    switched: Option<Switched<(), (), (), DefaultStack>>,
}

impl Coroutine {
    /// Makes a coroutine that runs `body` when it is resumed. `body` must not unwind.
    pub(super) fn new(body: Box<dyn FnOnce()>) -> Self {
        let pooled = POOL.with_borrow_mut(Vec::pop);
        let stack = pooled.unwrap_or_else(|| {
            DefaultStack::new(STACK_BYTES).expect("a stack can be mapped: raise vm.max_map_count")
        });
        let switched = Switched::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            RUNNING.set(ptr::from_ref(yielder));
            body();
        });
        Self { switched: Some(switched) }
    }

    /// Runs it until it suspends itself or returns; tells whether it has returned.
    pub(super) fn resume(&mut self) -> bool {
        let Some(switched) = &mut self.switched else { return true };
        let outer = RUNNING.replace(ptr::null());
        let result = switched.resume(());
        RUNNING.set(outer);
        if let CoroutineResult::Yield(()) = result {
            return false;
        }
        if let Some(switched) = self.switched.take() {
            let stack = switched.into_stack();
            POOL.with_borrow_mut(|pool| {
                if pool.len() < POOL_MAX {
                    pool.push(stack);
                }
            });
        }
        true
    }
}

impl fmt::Debug for Coroutine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coroutine").field("returned", &self.switched.is_none()).finish()
    }
}

/// Suspends the running coroutine until somebody resumes it.
///
/// # Panics
/// If no coroutine runs on this thread.
pub(super) fn suspend() {
    let yielder = RUNNING.get();
    assert!(!yielder.is_null(), "only a fiber can be suspended");
    // SAFETY: the pointer is set by `Coroutine::new`'s closure and again below, to the yielder that
    // lives on this very stack until `body` returns, and `resume` takes it away whenever control
    // leaves the stack: not null means that we are on the stack that the yielder belongs to.
    unsafe { (*yielder).suspend(()) };
    RUNNING.set(yielder);
}
