//! One operator of a scenario, as it was read.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};
use tidemill_core::BoxError;

use crate::data::DatumSerde;

/// The fields of an operator; notes which were read, so that none is overlooked.
pub(crate) struct Operator<'a> {
    fields: &'a Map<String, Value>,
    read: RefCell<BTreeSet<&'a str>>,
}

impl<'a> Operator<'a> {
    pub(crate) fn new(fields: &'a Map<String, Value>) -> Self {
        Self { fields, read: RefCell::default() }
    }

    pub(crate) fn get(&self, field: &str) -> Option<&'a Value> {
        let (name, value) = self.fields.get_key_value(field)?;
        self.read.borrow_mut().insert(name);
        Some(value)
    }

    pub(crate) fn text_or_none(&self, field: &str) -> Result<Option<&'a str>, BoxError> {
        let text = |value: &'a Value| {
            value.as_str().ok_or_else(|| self.wrong(&format!("\"{field}\" is no text")))
        };
        self.get(field).map(text).transpose()
    }

    pub(crate) fn text(&self, field: &str) -> Result<&'a str, BoxError> {
        self.text_or_none(field)?.ok_or_else(|| self.wrong(&format!("\"{field}\" is missing")))
    }

    pub(crate) fn name(&self) -> Result<Option<&'a str>, BoxError> {
        self.text_or_none("name")
    }

    pub(crate) fn texts(&self, field: &str) -> Vec<&'a str> {
        let list = self.get(field).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    pub(crate) fn number(&self, field: &str) -> Option<u64> {
        self.get(field).and_then(Value::as_u64)
    }

    pub(crate) fn flag(&self, field: &str) -> Option<bool> {
        self.get(field).and_then(Value::as_bool)
    }

    pub(crate) fn serde(&self, field: &str) -> Result<DatumSerde, BoxError> {
        DatumSerde::named(self.text_or_none(field)?.unwrap_or("string"))
    }

    /// Returns an operator's part that has fields of its own.
    pub(crate) fn child(&self, field: &str) -> Option<Operator<'a>> {
        self.get(field).and_then(Value::as_object).map(Operator::new)
    }

    pub(crate) fn children(&self, field: &str) -> Vec<Operator<'a>> {
        let list = self.get(field).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_object).map(Operator::new).collect()
    }

    /// Returns the names of the fields that nobody read.
    pub(crate) fn unread(&self) -> Vec<&'a str> {
        let read = self.read.borrow();
        self.fields.keys().map(|field| &**field).filter(|field| !read.contains(field)).collect()
    }

    pub(crate) fn check_all_read(&self) -> Result<(), BoxError> {
        let unread = self.unread();
        if unread.is_empty() { Ok(()) } else { Err(self.wrong(&format!("who reads {unread:?}?"))) }
    }

    pub(crate) fn wrong(&self, what: &str) -> BoxError {
        format!("{what}: {}", Value::Object(self.fields.clone())).into()
    }
}
