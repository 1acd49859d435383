//! The processor behind every operator without a store.

use std::sync::Arc;

use crate::BoxError;
use crate::processor::{Processor, ProcessorContext};
use crate::record::Record;

/// Calls a closure for each record. The closure's type is known, so the call is inlined.
pub(super) struct Stateless<F>(pub(super) Arc<F>);

impl<F, KIn, VIn, KOut, VOut> Processor<KIn, VIn, KOut, VOut> for Stateless<F>
where
    F: Fn(&mut ProcessorContext<'_, '_, KOut, VOut>, Record<KIn, VIn>) -> Result<(), BoxError>,
{
    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, KOut, VOut>,
        record: Record<KIn, VIn>,
    ) -> Result<(), BoxError> {
        (self.0)(context, record)
    }
}
