//! What a user's build gets: the dependency trees that docs/dependencies.md tells of.

use std::collections::BTreeSet;
use std::process::Command;

/// The crates of a build with `features`, our own left out.
fn tree(features: &str) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--package", "offramp", "--edges", "normal,build"])
        .args([
            "--prefix",
            "none",
            "--format",
            "{p}",
            "--features",
            features,
        ])
        .args(["--target", "x86_64-unknown-linux-gnu", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).expect("names in UTF-8");
    let names = text.lines().filter_map(|line| line.split(' ').next());
    names
        .filter(|name| !name.is_empty() && *name != "offramp")
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_trees_are_those_of_the_documentation() {
    let documentation = include_str!("../docs/dependencies.md");
    let plain = tree("");
    assert!(plain.len() <= 40, "{plain:?}");
    let count = format!("brings {} crates", plain.len());
    assert!(documentation.contains(&count), "not there: {count}");
    let features = [
        "tokio",
        "futures-io",
        "fs",
        "macros",
        "tracing",
        "testing",
        "watch",
        "smol",
        "tower",
        "serde",
    ];
    for feature in features {
        let row = format!("\n| `{feature}` | ");
        let (_, row) = documentation
            .split_once(&row)
            .expect("a row for each feature");
        let row = row.split(" |").next().expect("its end");
        let told: BTreeSet<String> = match row {
            "nothing" => BTreeSet::new(),
            names => names.split(", ").map(str::to_owned).collect(),
        };
        let added: BTreeSet<String> = tree(feature).difference(&plain).cloned().collect();
        assert_eq!(told, added, "what feature `{feature}` adds");
    }
}
