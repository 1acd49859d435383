//! Scenarios and vectors as files.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

/// What is done: see `scenarios/README.md`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    pub(crate) about: String,
    #[serde(default)]
    pub(crate) config: Map<String, Value>,
    pub(crate) topology: Vec<Map<String, Value>>,
    pub(crate) steps: Vec<Step>,
    /// From the folder of the scenarios, without the ending.
    #[serde(skip)]
    pub(crate) path: String,
}

/// An input record, or an advance of the wall clock.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    #[serde(default)]
    pub(crate) topic: String,
    #[serde(default)]
    pub(crate) key: Value,
    #[serde(default)]
    pub(crate) value: Value,
    #[serde(default)]
    pub(crate) at: i64,
    #[serde(default)]
    pub(crate) headers: Vec<(String, Option<String>)>,
    pub(crate) advance: Option<u64>,
    #[serde(default)]
    pub(crate) fails: bool,
}

/// What Kafka Streams made of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vector {
    pub(crate) describe: Vec<String>,
    /// Topics with their records, before the first step and after each.
    pub(crate) steps: Vec<Map<String, Value>>,
    /// Whether the step after those failed.
    pub(crate) failed: bool,
    pub(crate) stores: Map<String, Value>,
}

/// Names another folder with `scenarios/` and `vectors/`, to try many more than are committed.
const ELSEWHERE: &str = "TIDEMILL_TEST_GOLDEN";

pub(crate) fn is_elsewhere() -> bool {
    std::env::var_os(ELSEWHERE).is_some()
}

fn folder() -> PathBuf {
    let here = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    std::env::var_os(ELSEWHERE).map_or_else(here, PathBuf::from)
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> T {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Returns every scenario below a folder, by path.
pub(crate) fn scenarios(below: &str) -> Vec<Scenario> {
    let mut paths = Vec::new();
    collect(&folder().join("scenarios"), below, &mut paths);
    paths.sort();
    let scenario = |path: String| Scenario {
        path: path.clone(),
        ..read(&folder().join("scenarios").join(path).with_extension("json"))
    };
    paths.into_iter().map(scenario).collect()
}

fn collect(root: &Path, below: &str, paths: &mut Vec<String>) {
    let folder = root.join(below);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let entry = entry.expect("the folder can be read");
        let name = entry.file_name().into_string().expect("names are UTF-8");
        if entry.path().is_dir() {
            collect(root, &format!("{below}/{name}"), paths);
        } else if let Some(name) = name.strip_suffix(".json") {
            paths.push(format!("{below}/{name}"));
        }
    }
}

impl Scenario {
    /// Reads what Kafka Streams made of it.
    pub(crate) fn vector(&self) -> Vector {
        read(&folder().join("vectors").join(format!("{}.json", self.path)))
    }
}
