//! `docs/clippy.toml`: clippy finds the blocking calls of a sample crate, and nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const CONFIG: &str = include_str!("../docs/clippy.toml");
const FINDING: &str = "use of a disallowed method";

/// A crate that clippy looks at, in the directory for tests' files.
struct Sample {
    name: &'static str,
    folder: PathBuf,
}

impl Sample {
    /// With our own lock file: it needs nothing that our tests do not need.
    fn new(name: &'static str, manifest: &str, config: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("lint")
            .join(name);
        fs::create_dir_all(folder.join("src")).unwrap();
        let here = format!("path = {:?}", root.display().to_string());
        let manifest = manifest.replace("path = \"../..\"", &here);
        fs::write(folder.join("Cargo.toml"), manifest).unwrap();
        fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
        fs::write(folder.join("clippy.toml"), config).unwrap();
        Self { name, folder }
    }

    fn add(&self, file: &str, text: &str) {
        fs::write(self.folder.join("src").join(file), text).unwrap();
    }

    /// What clippy says, a line for each message, but for cargo's own account of it. `None`
    /// if there is no clippy.
    fn complaints(&self) -> Option<Vec<String>> {
        let cargo = || {
            let mut command = Command::new(env!("CARGO"));
            command
                .current_dir(&self.folder)
                .env_remove("CLIPPY_CONF_DIR");
            command.arg("clippy");
            command
        };
        if !cargo().arg("--version").output().unwrap().status.success() {
            println!("skipped: this toolchain has no clippy");
            return None;
        }
        let output = cargo()
            .args(["--offline", "--message-format=short", "--target-dir"])
            .arg(self.folder.with_file_name("target"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "clippy failed: {text}");
        let account = format!("warning: `{}` (lib) generated ", self.name);
        let complaints = text
            .lines()
            .filter(|line| line.contains("warning: ") && !line.starts_with(&account));
        Some(complaints.map(str::to_owned).collect())
    }
}

/// `file:line` of each finding, sorted. Panics at any other complaint.
fn places(complaints: &[String]) -> Vec<String> {
    let place = |complaint: &String| {
        assert!(complaint.contains(FINDING), "clippy says: {complaint}");
        let mut parts = complaint.splitn(3, ':');
        format!("{}:{}", parts.next().unwrap(), parts.next().unwrap())
    };
    let mut places: Vec<_> = complaints.iter().map(place).collect();
    places.sort();
    places
}

/// Without `allow-invalid`, so that an entry with a mistake in its path is a complaint: the
/// sample has all of the crates.
#[test]
fn each_planted_call_is_found_and_nothing_else() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lint-sample");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let config = CONFIG.replace(", allow-invalid = true", "");
    let sample = Sample::new("lint-sample", &manifest, &config);

    let mut planted = Vec::new();
    for file in ["lib.rs", "blocking.rs", "offloaded.rs", "sync_part.rs"] {
        let text = fs::read_to_string(folder.join("src").join(file)).unwrap();
        let lines = (1..).zip(text.lines());
        let marked = lines.filter(|(_, line)| line.ends_with("// planted"));
        planted.extend(marked.map(|(number, _)| format!("src/{file}:{number}")));
        sample.add(file, &text);
    }
    planted.sort();
    assert!(planted.len() >= 20, "only {} are planted", planted.len());

    let Some(complaints) = sample.complaints() else {
        return;
    };
    assert_eq!(places(&complaints), planted, "{complaints:#?}");
}

/// A project that has one of the crates, without the feature that some entries need, and
/// none of the others.
#[test]
fn entries_that_a_project_lacks_say_nothing() {
    let manifest = r#"
        [workspace]
        [package]
        name = "lint-lacking"
        version = "0.0.0"
        edition = "2024"
        [dependencies]
        ureq = { version = "3.5.2", default-features = false }
    "#;
    let sample = Sample::new("lint-lacking", manifest, CONFIG);
    sample.add(
        "lib.rs",
        "use ureq as _; pub fn read() -> std::io::Result<Vec<u8>> { std::fs::read(\"a\") }",
    );
    let Some(complaints) = sample.complaints() else {
        return;
    };
    assert_eq!(places(&complaints), ["src/lib.rs:1"]);
}

#[test]
fn each_entry_says_what_to_do() {
    let entries: Vec<_> = CONFIG
        .lines()
        .filter(|line| line.contains("path = "))
        .collect();
    assert!(entries.len() > 80, "{} entries", entries.len());
    for entry in entries {
        let (_, reason) = entry.split_once("reason = ").unwrap_or_default();
        assert!(reason.contains("offramp::offload_"), "{entry}");
    }
}
