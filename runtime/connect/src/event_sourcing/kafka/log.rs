//! Reading an events topic from its beginning: replays to any point, and the audit.

use std::collections::BTreeMap;

use tidemill::client::{ClientConfig, Message};
use tidemill::record::{RawRecord, TopicPartition};
use tidemill::topology::partition_for_key;

use super::log_error::EventLogError;
use super::reader::{Place, Reader};
use super::stored::StoredStream;
use crate::event_sourcing::{
    Decider, EventEnvelope, Fingerprint, Stream, Until, Upcasters, Version, VersionCheck,
};

/// Findings that are kept in words; the rest is counted only.
const FINDINGS_MAX: usize = 100;

/// An events topic, read as a whole. Blocks the calling thread; a replay or an audit holds the
/// state of every stream in memory.
#[derive(Debug, Clone)]
pub struct EventLog {
    reader: Reader,
    topic: String,
    upcasters: Upcasters,
}

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogAudit {
    /// Streams with events.
    pub streams: u64,
    /// Their events.
    pub events: u64,
    /// Stored states that were compared with the fold of the events up to their version.
    pub compared: u64,
    /// Events behind the stored states, or of streams without one: 0 when nobody works.
    pub events_beyond: u64,
    /// How many things are wrong.
    pub wrong: u64,
    /// What is wrong, in words; the first hundred.
    pub findings: Vec<String>,
    /// Over all streams, their versions and states, as the events make them.
    pub fingerprint: Option<Fingerprint>,
}

impl LogAudit {
    /// Returns true if nothing is wrong.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.wrong == 0
    }

    fn find(&mut self, what: String) {
        self.wrong += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(what);
        }
    }
}

/// A stream on its way through a replay.
struct Folding<S> {
    stream: Stream<S>,
    check: VersionCheck,
    past: bool,
}

impl EventLog {
    /// Names the topic, and the broker by a client's options.
    pub fn new(kafka: ClientConfig, topic: impl Into<String>) -> Self {
        Self { reader: Reader { kafka }, topic: topic.into(), upcasters: Upcasters::new() }
    }

    /// Reads old events with these.
    #[must_use]
    pub fn with_upcasters(mut self, upcasters: Upcasters) -> Self {
        self.upcasters = upcasters;
        self
    }

    /// Folds every stream from its first event to this point.
    ///
    /// # Errors
    /// If the topic can't be read, an event can't be read, or versions are wrong.
    pub fn replay<D: Decider>(
        &self,
        until: Until,
    ) -> Result<BTreeMap<String, Stream<D::State>>, EventLogError> {
        let partitions = self.reader.partitions(&self.topic)?;
        self.fold::<D>(partitions, until, |_| true)
    }

    /// Folds one stream to this point. Reads the partition that its id belongs to.
    ///
    /// # Errors
    /// As [`EventLog::replay`].
    pub fn replay_stream<D: Decider>(
        &self,
        stream: &str,
        until: Until,
    ) -> Result<Stream<D::State>, EventLogError> {
        let partitions = self.reader.partitions(&self.topic)?;
        let count = u32::try_from(partitions.len()).unwrap_or(u32::MAX).max(1);
        let its = partition_for_key(stream.as_bytes(), count);
        let its = partitions.into_iter().filter(|one| one.partition == its).collect();
        let mut streams = self.fold::<D>(its, until, |id| id == stream)?;
        Ok(streams.remove(stream).unwrap_or_else(Stream::new::<D>))
    }

    fn fold<D: Decider>(
        &self,
        partitions: Vec<TopicPartition>,
        until: Until,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<BTreeMap<String, Stream<D::State>>, EventLogError> {
        let mut streams: BTreeMap<String, Folding<D::State>> = BTreeMap::new();
        self.reader.read(&self.topic, partitions, &mut |place, message| {
            let (stream, envelope) = self.envelope(place, message)?;
            if !wanted(&stream) {
                return Ok(());
            }
            let folding = streams.entry(stream.clone()).or_insert_with(Folding::new::<D>);
            folding.past |= until.is_past(envelope.version, message.timestamp());
            if folding.past {
                return Ok(());
            }
            self.take::<D>(place, &stream, folding, envelope)
        })?;
        Ok(streams.into_iter().map(|(id, folding)| (id, folding.stream)).collect())
    }

    /// Folds every stream and compares each with the state that the deciding operator stores, by
    /// the changelog of its store (`<application.id>-<store>-changelog`). The application may run
    /// meanwhile: a stored state is compared with the fold up to its own version.
    ///
    /// # Errors
    /// If a topic can't be read. What is wrong in it is a finding, not an error.
    pub fn audit<D: Decider>(&self, changelog: &str) -> Result<LogAudit, EventLogError> {
        let mut audit = LogAudit::default();
        // first: whatever is stored then has its events in the topic
        let mut stored = self.stored::<D>(changelog, &mut audit)?;
        let mut streams: BTreeMap<String, Option<Folding<D::State>>> = BTreeMap::new();
        self.reader.read(
            &self.topic,
            self.reader.partitions(&self.topic)?,
            &mut |place, message| {
                audit.events += 1;
                let (stream, envelope) = match self.envelope(place, message) {
                    Ok(read) => read,
                    Err(error) => {
                        audit.find(in_full(&error));
                        return Ok(());
                    }
                };
                let entry =
                    streams.entry(stream.clone()).or_insert_with(|| Some(Folding::new::<D>()));
                // of a stream that is broken only the first break is told
                let Some(folding) = entry else { return Ok(()) };
                if let Err(error) = self.take::<D>(place, &stream, folding, envelope) {
                    *entry = None;
                    audit.find(in_full(&error));
                    return Ok(());
                }
                let (version, state) = (folding.stream.version, &folding.stream.state);
                match stored.get(&stream) {
                    Some((at, kept)) if *at == version => {
                        audit.compared += 1;
                        if *kept != fingerprint(&stream, state)? {
                            audit.find(format!(
                            "stream {stream}: the state of version {version} is not the fold of \
                             its events"
                        ));
                        }
                        stored.remove(&stream);
                    }
                    Some(_) => {}
                    None => audit.events_beyond += 1,
                }
                Ok(())
            },
        )?;
        for (stream, (version, _)) in stored.iter().filter(|(_, (at, _))| *at > Version::NONE) {
            if streams.get(stream).is_none_or(Option::is_some) {
                audit.find(format!("stream {stream}: a state of version {version}, events end"));
            }
        }
        audit.streams = u64::try_from(streams.len()).unwrap_or(u64::MAX);
        let mut sum = Fingerprint::ZERO;
        for (stream, folding) in &streams {
            if let Some(folding) = folding {
                let whole = BTreeMap::from([(stream, &folding.stream)]);
                sum = sum.plus(fingerprint(stream, &whole)?);
            }
        }
        audit.fingerprint = Some(sum);
        Ok(audit)
    }

    /// The last state of each stream in a changelog.
    fn stored<D: Decider>(
        &self,
        changelog: &str,
        audit: &mut LogAudit,
    ) -> Result<BTreeMap<String, (Version, Fingerprint)>, EventLogError> {
        let mut stored = BTreeMap::new();
        self.reader.read(
            changelog,
            self.reader.partitions(changelog)?,
            &mut |place, message| {
                let stream = text(message.key());
                let Some(value) = message.value() else {
                    stored.remove(&stream);
                    return Ok(());
                };
                match serde_json::from_slice::<StoredStream<D::State>>(value) {
                    Ok(found) if found.schema == D::STATE_SCHEMA => {
                        stored.insert(
                            stream.clone(),
                            (found.version, fingerprint(&stream, &found.state)?),
                        );
                    }
                    Ok(found) => {
                        let (of, known) = (found.schema, D::STATE_SCHEMA);
                        audit.find(format!(
                            "stream {stream}: its state has schema {of}, not {known}"
                        ));
                    }
                    Err(error) => {
                        let (partition, offset) = place;
                        audit.find(format!("{changelog}-{partition} at {offset}: {error}"));
                    }
                }
                Ok(())
            },
        )?;
        Ok(stored)
    }

    fn take<D: Decider>(
        &self,
        (partition, offset): Place,
        stream: &str,
        folding: &mut Folding<D::State>,
        envelope: EventEnvelope,
    ) -> Result<(), EventLogError> {
        if !folding.check.observe(stream, envelope.version, envelope.event_id)? {
            // the operator writes each once: in its topic a repetition is a second writer, too
            return Err(crate::event_sourcing::VersionError::ForeignWrite {
                stream: stream.to_owned(),
                last: folding.check.last,
                found: envelope.version,
                event_id: envelope.event_id,
            }
            .into());
        }
        let recorded = self.upcasters.read::<D::Event>(envelope).map_err(|cause| {
            EventLogError::Event { topic: self.topic.clone(), partition, offset, cause }
        })?;
        let before = std::mem::replace(&mut folding.stream, Stream::new::<D>());
        folding.stream = before.evolve::<D>(&recorded.event);
        Ok(())
    }

    fn envelope(
        &self,
        (partition, offset): Place,
        message: &Message,
    ) -> Result<(String, EventEnvelope), EventLogError> {
        let value = message.value().unwrap_or_default();
        let envelope = serde_json::from_slice(value).map_err(|cause| EventLogError::NoEvent {
            topic: self.topic.clone(),
            partition,
            offset,
            cause,
        })?;
        Ok((text(message.key()), envelope))
    }
}

impl<S> Folding<S> {
    fn new<D: Decider<State = S>>() -> Self {
        Self { stream: Stream::new::<D>(), check: VersionCheck::default(), past: false }
    }
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

fn fingerprint<T: serde::Serialize>(stream: &str, value: &T) -> Result<Fingerprint, EventLogError> {
    Fingerprint::of(value).map_err(|cause| EventLogError::Json { stream: stream.to_owned(), cause })
}

/// An error with its causes.
fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
