//! Dependencies point down. Adding an edge to these tables is a change of the architecture.

use crate::files::{SourceFile, rust_files};
use crate::report;

type Layers = &'static [(&'static str, &'static [&'static str])];

/// Each module of the core with the modules that it may use.
const CORE: Layers = &[
    ("record", &[]),
    ("serdes", &[]),
    ("errors", &["record"]),
    ("window", &["record", "serdes"]),
    ("store", &["record", "serdes", "errors", "window"]),
    ("processor", &["record", "serdes", "errors", "store", "window"]),
    ("revision", &["record", "serdes", "errors"]),
    ("topology", &["record", "serdes", "errors", "store", "processor", "window"]),
    ("task", &["record", "serdes", "errors", "store", "processor", "topology"]),
    ("transaction", &["record", "errors", "store"]),
    (
        "dsl",
        &["record", "serdes", "errors", "store", "processor", "topology", "revision", "window"],
    ),
    ("driver", &["record", "serdes", "errors", "store", "processor", "topology", "task", "window"]),
];

/// Each module of the crate for databases with the modules that it may use.
const CONNECT: Layers = &[
    ("source", &[]),
    ("postgres", &[]),
    ("testing", &[]),
    ("inbox", &["postgres"]),
    ("cdc", &["source", "postgres"]),
    ("outbox", &["source", "postgres", "cdc"]),
    ("sink", &["postgres", "inbox"]),
    ("listen", &["postgres", "inbox", "sink"]),
    ("revision", &["postgres"]),
    ("event_sourcing", &["source", "postgres", "inbox", "outbox", "sink"]),
    ("saga", &["postgres", "inbox", "outbox", "sink"]),
];

/// What only one module may name, and the raw loop that the benchmark compares it with.
const OWNED: &[(&str, &str, &[&str])] = &[
    ("rdkafka::", "librdkafka", &["runtime/src/client/kafka/", "benches/src/raw/"]),
    ("rdkafka_sys::", "librdkafka", &["runtime/src/client/kafka/"]),
    ("rocksdb::", "RocksDB", &["runtime/src/storage/"]),
    ("pgwire_replication::", "PostgreSQL's replication", &["runtime/connect/src/cdc/"]),
];

/// Calls that ask the system's clock or let it wait, and the files of the runtime that may.
const CLOCK: &[&str] =
    &["Instant::now(", "SystemTime::now(", ".elapsed()", "thread::sleep(", "recv_timeout("];
const CLOCK_READERS: &[&str] = &[
    "runtime/src/app/threads.rs",
    "runtime/src/client/kafka/",
    "runtime/src/client/waker.rs",
    "runtime/src/clock.rs",
    "runtime/src/simulation/world.rs",
    "runtime/src/storage/lock.rs",
    "runtime/src/world.rs",
];

/// The modules of the core as `crate::` paths name them, on one line of code.
fn named(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_');
        &rest[..end.unwrap_or(rest.len())]
    })
}

fn upward(folder: &str, layers: Layers, file: &SourceFile) -> Vec<String> {
    let Some(inner) = file.path.strip_prefix(folder) else { return Vec::new() };
    let module = inner.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    if module == "lib" {
        return Vec::new();
    }
    let Some((_, below)) = layers.iter().find(|(name, _)| *name == module) else {
        return vec![file.at(1, &format!("module {module} is in no layer: add it to the table"))];
    };
    let mut violations = Vec::new();
    for (number, line) in file.code() {
        // `crate::BoxError` names no module
        for used in named(line).filter(|used| !used.is_empty()) {
            if used != module && !below.contains(&used) {
                violations.push(file.at(number, &format!("{module} uses {used}")));
            }
        }
        if line.contains("crate::{") {
            violations.push(file.at(number, "name one module a use, so that it can be checked"));
        }
        if line.contains("super::super::") && !file.is_test() {
            violations.push(file.at(number, "a path by crate:: says where it leads"));
        }
    }
    violations
}

fn check_layers(folder: &str, layers: Layers) {
    let files = rust_files();
    let violations: Vec<String> =
        files.iter().flat_map(|file| upward(folder, layers, file)).collect();
    report("dependencies point down", &violations);
}

#[test]
fn the_modules_of_the_core_use_only_those_below_them() {
    check_layers("core/src/", CORE);
}

#[test]
fn the_modules_of_connect_use_only_those_below_them() {
    check_layers("runtime/connect/src/", CONNECT);
}

#[test]
fn the_layers_have_no_cycle() {
    for layers in [CORE, CONNECT] {
        for (index, (module, below)) in layers.iter().enumerate() {
            for used in *below {
                let position = layers.iter().position(|(name, _)| name == used);
                assert!(position.is_some_and(|p| p < index), "{module} uses {used}, not below it");
            }
        }
    }
}

#[test]
fn each_foreign_library_is_named_by_one_module_only() {
    let mut violations = Vec::new();
    for file in rust_files().iter().filter(|file| file.path.contains("/src/")) {
        for (word, what, allowed) in OWNED {
            if file.is_test()
                || allowed.iter().any(|folder| file.path.starts_with(folder))
                || !(file.path.starts_with("core/")
                    || file.path.starts_with("runtime/src/")
                    || file.path.starts_with("runtime/connect/src/"))
            {
                continue;
            }
            let named = |line: &str| {
                let word_start = |(at, _): (usize, _)| {
                    let before = line[..at].chars().next_back();
                    before.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_' && c != ':')
                };
                line.match_indices(word).any(word_start)
            };
            let bad = file.code().filter(|(_, line)| named(line));
            violations.extend(bad.map(|(n, _)| file.at(n, &format!("{what} is named here"))));
        }
    }
    report("a foreign library has one home", &violations);
}

#[test]
fn the_runtime_asks_its_world_for_the_time() {
    let mut violations = Vec::new();
    for file in rust_files().iter().filter(|file| file.path.starts_with("runtime/src/")) {
        if file.is_test() || CLOCK_READERS.iter().any(|reader| file.path.starts_with(reader)) {
            continue;
        }
        let asks = |line: &str| CLOCK.iter().any(|call| line.contains(call));
        let bad = file.code().filter(|(_, line)| asks(line));
        violations.extend(bad.map(|(n, _)| file.at(n, "the system's clock is asked")));
    }
    report("the time comes from the world", &violations);
}
