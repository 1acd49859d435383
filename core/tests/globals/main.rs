//! Global tables and stores: what fills them, who reads them, and what is refused.

mod filling;
mod mistakes;
mod models;
mod reading;
#[path = "../support/mod.rs"]
mod support;

use std::convert::Infallible;

use tidemill_core::BoxError;
use tidemill_core::processor::{Processor, ProcessorContext};
use tidemill_core::record::Record;
use tidemill_core::serdes::string;
use tidemill_core::store::KeyValueStore;
use tidemill_core::topology::{Consumed, Produced};

type Nothing<'c, 't> = ProcessorContext<'c, 't, Infallible, Infallible>;

fn strings() -> Consumed<String, String> {
    Consumed::with(string(), string())
}

fn out() -> Produced<String, String> {
    Produced::with(string(), string())
}

/// Fills the store `words`: the key is the value, the value all keys that came with it.
#[derive(Default)]
struct Words(Option<KeyValueStore<String, String>>);

impl Processor<String, String, Infallible, Infallible> for Words {
    fn init(&mut self, context: &mut Nothing<'_, '_>) -> Result<(), BoxError> {
        self.0 = Some(context.key_value_store("words")?);
        Ok(())
    }

    fn process(
        &mut self,
        _: &mut Nothing<'_, '_>,
        record: Record<String, String>,
    ) -> Result<(), BoxError> {
        if record.value == "bad" {
            return Err("a bad word".into());
        }
        let store = self.0.as_ref().ok_or("not initialised")?;
        let before = store.get(&record.value)?.unwrap_or_default();
        Ok(store.put(&record.value, before + &record.key)?)
    }
}
