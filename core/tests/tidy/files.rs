//! Walks the repository and reads its Rust files.

use std::fs;
use std::path::{Path, PathBuf};

/// A Rust file of the repository.
pub(crate) struct SourceFile {
    /// Path from the root of the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl SourceFile {
    /// Whether the file is there for tests only, or a program of its own, which may print.
    pub(crate) fn is_test(&self) -> bool {
        let in_folder = |folder: &str| {
            self.path.starts_with(folder) || self.path.contains(&format!("/{folder}"))
        };
        in_folder("tests/") || self.path.ends_with("/tests.rs")
    }

    pub(crate) fn may_print(&self) -> bool {
        let program = ["/examples/", "/benches/", "/bin/"];
        let program = program.iter().any(|part| self.path.contains(part));
        let top = self.path.starts_with("examples/") || self.path.starts_with("benches/");
        program || top || self.is_test() || self.path.ends_with("/main.rs")
    }

    /// Iterates over line number (from 1) and text of the lines that are not comments.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    pub(crate) fn at(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns every Rust file of the repository, by path.
pub(crate) fn rust_files() -> Vec<SourceFile> {
    let mut files = Vec::new();
    collect(&root(), "", &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(files.len() > 50, "only {} Rust files were found", files.len());
    files
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<SourceFile>) {
    let entries = fs::read_dir(folder).expect("the repository can be read");
    for entry in entries {
        let entry = entry.expect("the repository can be read");
        let name = entry.file_name().into_string().expect("names are UTF-8");
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().expect("the repository can be read");
        let generated = name.starts_with('.') || matches!(&*name, "target" | "node_modules");
        if kind.is_dir() && !generated {
            collect(&entry.path(), &format!("{path}/"), files);
        } else if kind.is_file() && name.ends_with(".rs") {
            let text = fs::read_to_string(entry.path()).expect("Rust files are UTF-8");
            files.push(SourceFile { path, text });
        }
    }
}
