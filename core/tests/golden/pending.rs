//! Scenarios of operators that Tidemill does not have yet: none is forgotten when it gets them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::files::{is_elsewhere, scenarios};
use crate::run::prepare;
use crate::topology::BuildError;

/// What is missing: what [`BuildError::NotBuilt`] calls it, how many scenarios it holds back, and
/// how the DSL will call it, as far as that is known.
const MISSING: &[(&str, usize, &[&str])] = &[("grace", 2, &[]), ("self_join", 1, &[])];

/// Every file of the DSL as one text.
fn dsl(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).expect("the sources can be read") {
        let path = entry.expect("the sources can be read").path();
        if path.is_dir() {
            dsl(&path, text);
        } else {
            text.push_str(&fs::read_to_string(&path).expect("sources are UTF-8"));
        }
    }
}

#[test]
fn what_is_pending_cannot_be_built() {
    let mut missing = BTreeMap::<String, usize>::new();
    for scenario in scenarios("pending") {
        match prepare(&scenario) {
            Err(BuildError::NotBuilt(what)) => *missing.entry(what).or_default() += 1,
            Ok(_) => panic!("{0} can be built: move it from pending to operators", scenario.path),
            Err(BuildError::Wrong(error)) => panic!("{}: {error}", scenario.path),
        }
        // Kafka Streams has answered already
        assert_eq!(scenario.vector().describe[0], "Topologies:", "{}", scenario.path);
    }
    if is_elsewhere() {
        return;
    }
    let listed = MISSING.iter().map(|(what, count, _)| ((*what).to_owned(), *count)).collect();
    assert_eq!(missing, listed, "found on the left, listed on the right");
}

#[test]
fn the_dsl_has_nothing_that_is_pending() {
    let mut text = String::new();
    dsl(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dsl"), &mut text);
    for (what, _, calls) in MISSING {
        for call in *calls {
            assert!(
                !text.contains(call),
                "the DSL has `{call}`: teach it to tests/golden/topology.rs and move the scenarios \
                 of {what} from pending to operators"
            );
        }
    }
}
