//! The capture: a relay that reads the order table and then PostgreSQL's log.

use tidemill::BoxError;
use tidemill_connect::cdc::{CdcSource, Snapshot};
use tidemill_connect::source::SourceRunner;
use tidemill_connect::source::Stop;
use tidemill_examples::stage::Setting;

/// The publication of the order table.
pub(crate) const PUBLICATION: &str = "shop_publication";
/// Where changes of the order table go.
pub(crate) const CHANGES: &str = "shop.public.orders";

/// The service, until it is killed.
pub(crate) fn service(setting: &Setting) -> Result<(), BoxError> {
    let source = CdcSource::new(setting.database.parse()?, "shop_cdc", PUBLICATION)?
        .topics("shop.{schema}.{table}")?
        .snapshot(Snapshot::initial())
        // the topic is a history: a deletion is a change like others
        .tombstones(false)
        // of the one before, which was killed
        .take_over(true);
    let relay = SourceRunner::new("shop-cdc", source, setting.clients(), "shop-cdc-positions");
    Ok(relay.run_until(&Stop::new())?)
}
