//! Links between the documents lead somewhere: the file is there, and so is the place in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::files::root;
use crate::report;

/// A link as it is written, and the line it is in.
struct Link {
    line: usize,
    target: String,
}

/// Returns all Markdown files of the repository's top folder and of `docs`.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["", "docs", "docs/decisions"] {
        let entries = fs::read_dir(root().join(folder)).expect("the repository can be read");
        for entry in entries {
            let name = entry.expect("the repository can be read").file_name();
            if Path::new(&name).extension().is_some_and(|extension| extension == "md") {
                found.push(Path::new(folder).join(name));
            }
        }
    }
    assert!(found.len() > 10, "only {} documents were found", found.len());
    found.sort();
    found
}

/// The lines that are text: between the fences of code nothing is a link or a heading.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

fn links(text: &str) -> Vec<Link> {
    let mut found = Vec::new();
    for (line, content) in prose(text) {
        for rest in content.split("](").skip(1) {
            if let Some((target, _)) = rest.split_once(')') {
                found.push(Link { line, target: target.to_owned() });
            }
        }
    }
    found
}

/// The places of a document: its headings as GitHub names them, and what has an id.
fn places(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, line) in prose(text) {
        if let Some(heading) = line.strip_prefix('#') {
            found.insert(slug(heading.trim_start_matches('#').trim()));
        }
        for rest in line.split("<a id=\"").skip(1) {
            let id = rest.split('"').next().unwrap_or_default();
            assert!(found.insert(id.to_owned()), "the id {id} is there twice");
        }
    }
    found
}

fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// The path of `target` as seen from the folder of `document`, without `..`.
fn resolved(document: &Path, target: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for part in document.with_file_name(target).components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            other => path.push(other),
        }
    }
    path
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let texts: BTreeMap<PathBuf, String> = documents()
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(root().join(&path)).expect("documents are UTF-8");
            (path, text)
        })
        .collect();
    let (mut violations, mut followed) = (Vec::new(), 0);
    for (document, text) in &texts {
        for Link { line, target } in links(text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            followed += 1;
            let (file, place) = target.split_once('#').unwrap_or((&target, ""));
            let path = if file.is_empty() { document.clone() } else { resolved(document, file) };
            let mut wrong =
                |what: &str| violations.push(format!("{}:{line}: {what}", document.display()));
            if !root().join(&path).exists() {
                wrong(&format!("there is no {}", path.display()));
            } else if !place.is_empty()
                && texts.get(&path).is_some_and(|text| !places(text).contains(place))
            {
                wrong(&format!("{} has no place {place}", path.display()));
            }
        }
    }
    assert!(followed > 100, "only {followed} links were found");
    report("every link leads somewhere", &violations);
}

/// The page that promises it: a claim that nothing proves is none.
#[test]
fn every_cure_links_to_the_faults_that_it_was_tested_with() {
    let text = fs::read_to_string(root().join("docs/WHICH_CURE.md")).expect("the page is there");
    let mut violations = Vec::new();
    for section in text.split("\n## ").skip(1) {
        let (heading, body) = section.split_once('\n').unwrap_or((section, ""));
        for paragraph in body.split("\n\n") {
            let promises = paragraph.trim_start().starts_with("Guarantee:");
            if promises && !paragraph.contains("](FAULTS.md#") {
                violations.push(format!("{heading}: a guarantee without a test"));
            }
        }
    }
    report("every guarantee links to its tests", &violations);
}

#[test]
fn headings_become_places_as_github_names_them() {
    assert_eq!(slug("What each of them costs"), "what-each-of-them-costs");
    assert_eq!(slug("Kafka Streams' own answers"), "kafka-streams-own-answers");
    assert_eq!(slug("`make chaos-connect`: kills"), "make-chaos-connect-kills");
    let text = "# One\n```text\n# two\n[a](b)\n```\n<a id=\"three\"></a>[x](y#z)\n";
    assert_eq!(places(text), ["one", "three"].map(String::from).into());
    assert_eq!(links(text).len(), 1);
    assert_eq!(resolved(Path::new("docs/a.md"), "../core/b"), Path::new("core/b"));
}
