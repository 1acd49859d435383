//! Whose turn it is: queues that hold a record, the one with the smallest timestamp first.
//!
//! Between equal timestamps it is the binary heap that decides, and it is that of Java's
//! `PriorityQueue`: no order is promised there, but a join or merge of two topics gives the same
//! results as in Kafka Streams.

use crate::record::Timestamp;

/// Numbers of queues with the timestamps of their heads.
#[derive(Debug, Default)]
pub(super) struct Turns {
    heap: Vec<(Timestamp, usize)>,
}

impl Turns {
    /// Adds a queue whose head was read.
    pub(super) fn offer(&mut self, head: Timestamp, queue: usize) {
        self.heap.push((head, queue));
        let mut place = self.heap.len() - 1;
        while place > 0 {
            let parent = (place - 1) / 2;
            if head >= self.heap[parent].0 {
                break;
            }
            self.heap.swap(place, parent);
            place = parent;
        }
    }

    /// Returns the queue whose turn it is.
    pub(super) fn first(&self) -> Option<usize> {
        self.heap.first().map(|(_, queue)| *queue)
    }

    /// Takes the queue whose turn it is away.
    pub(super) fn take_first(&mut self) {
        let Some(moved) = self.heap.pop() else { return };
        let Some(first) = self.heap.first_mut() else { return };
        *first = moved;
        let mut place = 0;
        loop {
            let (left, right) = (2 * place + 1, 2 * place + 2);
            let Some(mut smaller) = self.heap.get(left).map(|_| left) else { return };
            if self.heap.get(right).is_some_and(|(head, _)| self.heap[left].0 > *head) {
                smaller = right;
            }
            if moved.0 <= self.heap[smaller].0 {
                return;
            }
            self.heap.swap(place, smaller);
            place = smaller;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(turns: &mut Turns) -> Vec<usize> {
        let next = || {
            let first = turns.first();
            turns.take_first();
            first
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn the_smallest_timestamp_comes_first() {
        let mut turns = Turns::default();
        for (queue, head) in [5, 3, 9, 1, 4, 7, 2, 8, 6, 0].into_iter().enumerate() {
            turns.offer(Timestamp(head), queue);
        }
        assert_eq!(all(&mut turns), [9, 3, 6, 1, 4, 0, 8, 5, 7, 2]);
        assert_eq!(turns.first(), None);
    }

    #[test]
    fn a_queue_that_comes_back_with_the_same_timestamp_waits_for_its_sister() {
        let mut turns = Turns::default();
        turns.offer(Timestamp(1), 0);
        turns.offer(Timestamp(1), 1);
        assert_eq!(turns.first(), Some(0));
        turns.take_first();
        turns.offer(Timestamp(1), 0);
        assert_eq!(all(&mut turns), [1, 0]);
    }
}
