//! Processors that may not change the key, so that no repartitioning is needed after them.

use std::fmt;

use super::{Processor, ProcessorContext, Punctuation};
use crate::BoxError;
use crate::record::{Headers, Record, Timestamp};

/// A record whose key can be read but not changed (KIP-820).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedKeyRecord<K, V> {
    record: Record<K, V>,
}

impl<K, V> FixedKeyRecord<K, V> {
    /// Returns the key.
    pub fn key(&self) -> &K {
        &self.record.key
    }

    /// Returns the value.
    pub fn value(&self) -> &V {
        &self.record.value
    }

    /// Returns the timestamp, in milliseconds since the Unix epoch.
    pub fn timestamp(&self) -> Timestamp {
        self.record.timestamp
    }

    /// Returns the headers.
    pub fn headers(&self) -> &Headers {
        &self.record.headers
    }

    /// Replaces the value.
    pub fn with_value<V2>(self, value: V2) -> FixedKeyRecord<K, V2> {
        FixedKeyRecord { record: self.record.with_value(value) }
    }

    /// Replaces the timestamp.
    #[must_use]
    pub fn with_timestamp(self, timestamp: Timestamp) -> Self {
        Self { record: self.record.with_timestamp(timestamp) }
    }

    /// Replaces the headers.
    #[must_use]
    pub fn with_headers(self, headers: Headers) -> Self {
        Self { record: self.record.with_headers(headers) }
    }
}

/// As a [`Processor`], with the key fixed.
pub trait FixedKeyProcessor<K, VIn, VOut> {
    /// See [`Processor::init`].
    ///
    /// # Errors
    /// As there.
    fn init(
        &mut self,
        _context: &mut FixedKeyProcessorContext<'_, '_, '_, K, VOut>,
    ) -> Result<(), BoxError> {
        Ok(())
    }

    /// See [`Processor::process`].
    ///
    /// # Errors
    /// As there.
    fn process(
        &mut self,
        context: &mut FixedKeyProcessorContext<'_, '_, '_, K, VOut>,
        record: FixedKeyRecord<K, VIn>,
    ) -> Result<(), BoxError>;

    /// See [`Processor::punctuate`]. There is no record whose key could be kept, so nothing can be
    /// forwarded that was not kept from before.
    ///
    /// # Errors
    /// As there.
    fn punctuate(
        &mut self,
        _context: &mut FixedKeyProcessorContext<'_, '_, '_, K, VOut>,
        _punctuation: Punctuation,
    ) -> Result<(), BoxError> {
        Ok(())
    }

    /// See [`Processor::close`].
    fn close(&mut self) {}
}

/// As a [`ProcessorContext`], forwarding records whose key is the one that came in.
pub struct FixedKeyProcessorContext<'f, 'c, 't, K, V> {
    context: &'f mut ProcessorContext<'c, 't, K, V>,
}

impl<K, V> fmt::Debug for FixedKeyProcessorContext<'_, '_, '_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.context.fmt(f)
    }
}

impl<'c, 't, K, V> std::ops::Deref for FixedKeyProcessorContext<'_, 'c, 't, K, V> {
    type Target = ProcessorContext<'c, 't, K, V>;

    fn deref(&self) -> &Self::Target {
        self.context
    }
}

impl<K: Clone, V: Clone> FixedKeyProcessorContext<'_, '_, '_, K, V> {
    /// Sends a record to all children. See [`ProcessorContext::forward`].
    ///
    /// # Errors
    /// As there.
    pub fn forward(&mut self, record: FixedKeyRecord<K, V>) -> Result<(), BoxError> {
        self.context.forward(record.record)
    }

    /// See [`ProcessorContext::schedule`].
    pub fn schedule(
        &mut self,
        interval: std::time::Duration,
        kind: super::PunctuationType,
    ) -> super::PunctuationHandle {
        self.context.schedule(interval, kind)
    }

    /// See [`ProcessorContext::cancel`].
    pub fn cancel(&mut self, handle: super::PunctuationHandle) {
        self.context.cancel(handle);
    }

    /// See [`ProcessorContext::commit`].
    pub fn commit(&mut self) {
        self.context.commit();
    }
}

/// Runs a [`FixedKeyProcessor`] where a [`Processor`] is expected.
pub(crate) struct FixedKeyAdapter<P>(pub(crate) P);

impl<P, K, VIn, VOut> Processor<K, VIn, K, VOut> for FixedKeyAdapter<P>
where
    P: FixedKeyProcessor<K, VIn, VOut>,
{
    fn init(&mut self, context: &mut ProcessorContext<'_, '_, K, VOut>) -> Result<(), BoxError> {
        self.0.init(&mut FixedKeyProcessorContext { context })
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, VOut>,
        record: Record<K, VIn>,
    ) -> Result<(), BoxError> {
        self.0.process(&mut FixedKeyProcessorContext { context }, FixedKeyRecord { record })
    }

    fn punctuate(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, VOut>,
        punctuation: Punctuation,
    ) -> Result<(), BoxError> {
        self.0.punctuate(&mut FixedKeyProcessorContext { context }, punctuation)
    }

    fn close(&mut self) {
        self.0.close();
    }
}
