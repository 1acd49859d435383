//! Rules of windows, one by one.

use std::time::Duration;

use tidemill_core::dsl::{
    EmitStrategy, Grouped, Materialized, SessionWindows, SlidingWindows, StreamsBuilder,
    TimeWindows, UnlimitedWindows,
};
use tidemill_core::record::{Partition, Timestamp};
use tidemill_core::serdes::{i64, optional, string};
use tidemill_core::topology::{Consumed, Produced, partition_for_key};
use tidemill_core::window::TimeWindowedSerde;

use super::bench::{Bench, Kind, Options, Step};
use super::support::{Fixture, PARTITIONS, record};

const MS: Duration = Duration::from_millis(1);

fn grouped(builder: &StreamsBuilder) -> tidemill_core::dsl::KGroupedStream<String, String> {
    let stream = builder.stream("in", Consumed::with(string(), string()));
    stream.group_by_key(Grouped::with(string(), string()))
}

#[test]
fn mistaken_windows_are_refused_by_the_name_of_the_aggregation() {
    fn refused(count: impl FnOnce(&StreamsBuilder), why: &str) {
        let builder = StreamsBuilder::new();
        count(&builder);
        let node = "KSTREAM-AGGREGATE-0000000001";
        assert_eq!(builder.build().unwrap_err().to_string(), format!("{node}: {why}"));
    }
    fn time(windows: TimeWindows, why: &str) {
        refused(|b| drop(grouped(b).windowed_by(windows).count(Materialized::as_("w"))), why);
    }
    time(
        TimeWindows::of_size_with_no_grace(Duration::from_micros(9)),
        "windows of 9\u{b5}s have no size: at least 1 ms is needed",
    );
    for advance in [Duration::ZERO, 11 * MS] {
        let why = format!(
            "windows of 10ms can't advance by {advance:?}: at least 1 ms and at most their size"
        );
        time(TimeWindows::of_size_with_no_grace(10 * MS).advance_by(advance), &why);
    }
    let ever = Duration::MAX;
    time(
        TimeWindows::of_size_and_grace(MS, ever),
        &format!("the grace period of {ever:?} is longer than 2^63 milliseconds"),
    );
    refused(
        |b| {
            let windows = SessionWindows::of_inactivity_gap_with_no_grace(Duration::ZERO);
            grouped(b).windowed_by(windows).count(Materialized::as_("w"));
        },
        "sessions with a gap of 0ns end at once: at least 1 ms",
    );
    refused(
        |b| {
            let windows = UnlimitedWindows::of().start_on(Timestamp(-1));
            grouped(b).windowed_by(windows).count(Materialized::as_("w"));
        },
        "a window can't begin before the epoch, at -1 ms",
    );
    refused(
        |b| {
            let windows = grouped(b).windowed_by(UnlimitedWindows::of());
            let windows = windows.emit_strategy(EmitStrategy::on_window_close());
            windows.count(Materialized::as_("w"));
        },
        "unlimited windows never close: they have no final results",
    );
    refused(
        |b| {
            let windows = SlidingWindows::of_time_difference_and_grace(10 * MS, 5 * MS);
            let store = Materialized::as_("w").with_retention(24 * MS);
            grouped(b).windowed_by(windows).count(store);
        },
        "a retention of 24 ms drops windows that still take records: at least 25 ms are needed",
    );
}

#[test]
fn all_windows_of_a_key_go_to_the_partition_of_the_key() {
    let builder = StreamsBuilder::new();
    let windows = TimeWindows::of_size_with_no_grace(MS);
    let counts = grouped(&builder).windowed_by(windows).count(Materialized::default());
    let keys = TimeWindowedSerde::new(string(), 1);
    counts.to_stream().to("out", Produced::with(keys, optional(i64())));
    let mut fixture = Fixture::new(&builder.build().unwrap());
    for at in 0..20 {
        fixture.task.enqueue(0, record(at, at, "key", "v"));
    }
    fixture.process_all();
    fixture.commit();
    let partitions: Vec<Partition> =
        fixture.sent.sent.iter().filter_map(|(_, partition, _)| *partition).collect();
    assert_eq!(partitions, vec![partition_for_key(b"key", PARTITIONS); 20]);
}

#[test]
fn a_record_is_dropped_and_counted_for_each_window_that_has_closed() {
    let builder = StreamsBuilder::new();
    let windows = TimeWindows::of_size_and_grace(10 * MS, 3 * MS).advance_by(5 * MS);
    let counts = grouped(&builder).windowed_by(windows).count(Materialized::as_("w"));
    counts.to_stream().for_each(|_, _| {});
    let mut fixture = Fixture::new(&builder.build().unwrap());
    let mut dropped = |offset: i64, at: i64| {
        fixture.task.enqueue(0, record(offset, at, "k", "v"));
        fixture.process(0);
        fixture.task.counts().1
    };
    assert_eq!(dropped(0, 22), 0);
    // [5, 15) has closed at 18, [10, 20) has not
    assert_eq!(dropped(1, 12), 1);
    // closed are [0, 10) and [5, 15)
    assert_eq!(dropped(2, 7), 3);
}

#[test]
fn inv_9_stream_time_and_what_was_emitted_are_kept_with_the_offsets() {
    let (kind, emit) = (Kind::Time(10, 10, 2), EmitStrategy::OnWindowClose);
    let mut bench = Bench::new(Options { kind, caching: true, emit, interval: 0 });
    let step = |later| Step::Record("k".to_owned(), later, 1);
    bench.take(&step(5));
    bench.take(&step(20));
    bench.take(&Step::Restart);
    let kept = [("tidemill:time:KSTREAM-AGGREGATE-0000000001", 25), ("windows", 23)];
    let kept = kept.map(|(key, time)| (key.to_owned(), time));
    assert!(bench.metadata.iter().map(|(key, time)| (key.clone(), *time)).eq(kept));
    // late, though the task has seen nothing else since it was restarted
    bench.take(&step(-20));
    bench.take(&step(40));
    bench.commit();
    let finals: Vec<_> = bench.committed.iter().map(|((_, start, _), _)| *start).collect();
    assert_eq!(finals, [0, 20]);
}
