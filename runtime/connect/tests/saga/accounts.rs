//! Participants of the simulated shop: whoever has something gives it to a saga, and takes it back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidemill::BoxError;
use tidemill::processor::ProcessorContext;
use tidemill::store::KeyValueStore;
use tidemill_connect::saga::participant::Participant;
use tidemill_connect::saga::{Answer, Command, Direction, Reply};

use crate::order::Amount;

/// What everybody has in the beginning.
pub(crate) const INITIAL: i64 = 1_000;

/// Somebody's points, the stock of something, or money.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) free: i64,
    /// What each saga has of it.
    pub(crate) taken: BTreeMap<String, i64>,
}

/// Gives and takes back. That a command is done twice is an error, so that the simulation stops.
pub(crate) struct Accounts {
    name: String,
    initial: i64,
    store: Option<KeyValueStore<String, Account>>,
}

impl Accounts {
    pub(crate) fn new(name: &str, initial: i64) -> Self {
        Self { name: name.to_owned(), initial, store: None }
    }
}

impl Participant for Accounts {
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, Reply>,
    ) -> Result<(), BoxError> {
        self.store = Some(context.key_value_store(&self.name)?);
        Ok(())
    }

    fn handle(
        &mut self,
        _: &mut ProcessorContext<'_, '_, String, Reply>,
        command: &Command,
    ) -> Result<Answer, BoxError> {
        let store = self.store.as_ref().unwrap();
        let Amount { whose, amount, refuse } = command.payload()?;
        let account = store.get(&whose)?;
        let mut account = account.unwrap_or(Account { free: self.initial, taken: BTreeMap::new() });
        let id = command.saga_id.clone();
        match command.direction {
            Direction::Forward if refuse => return Ok(Answer::refused("as the test wants it")),
            Direction::Forward if account.free < amount => {
                return Ok(Answer::refused(format!("{whose} has {} only", account.free)));
            }
            Direction::Forward => {
                account.free -= amount;
                if account.taken.insert(id.clone(), amount).is_some() {
                    return Err(format!("{} gave to {id} twice", self.name).into());
                }
            }
            Direction::Compensation => {
                let Some(taken) = account.taken.remove(&id) else {
                    return Err(format!("{} took back from {id} twice", self.name).into());
                };
                account.free += taken;
            }
        }
        store.put(&whose, account)?;
        Ok(Answer::done())
    }
}

/// Confirms orders and tells of them; the telling fails now and then.
pub(crate) struct Shop {
    store: Option<KeyValueStore<String, String>>,
}

pub(crate) const SHOP_STORE: &str = "shop-orders";

impl Shop {
    /// How many attempts to tell of an order fail at most.
    pub(crate) const REFUSALS: u32 = 2;

    pub(crate) fn new() -> Self {
        Self { store: None }
    }
}

impl Participant for Shop {
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, Reply>,
    ) -> Result<(), BoxError> {
        self.store = Some(context.key_value_store(SHOP_STORE)?);
        Ok(())
    }

    fn handle(
        &mut self,
        _: &mut ProcessorContext<'_, '_, String, Reply>,
        command: &Command,
    ) -> Result<Answer, BoxError> {
        let store = self.store.as_ref().unwrap();
        let Amount { refuse, .. } = command.payload()?;
        let number = command.command_id.as_u128();
        let (before, after) = match &*command.step {
            "confirm" => (None, "confirmed"),
            _ => (Some("confirmed"), "told"),
        };
        if refuse {
            return Ok(Answer::refused("as the test wants it"));
        }
        if before.is_some() && number.is_multiple_of(3) && command.attempt <= Self::REFUSALS {
            return Ok(Answer::refused("nobody at home"));
        }
        let found = store.get(&command.saga_id)?;
        if found.as_deref() != before {
            return Err(format!("{} is {found:?} before {after}", command.saga_id).into());
        }
        store.put(&command.saga_id, after.to_owned())?;
        Ok(Answer::done())
    }
}
