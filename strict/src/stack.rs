//! From return addresses to names.

use std::collections::HashMap;
use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// One function of a stack, inlined ones too.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// The path of the function, or where it would be.
    pub(crate) name: String,
    /// Only the last part of the name was known, the rest is by the file.
    pub(crate) is_guessed: bool,
    pub(crate) place: Option<(PathBuf, u32)>,
}

/// What an address is, looked up once: allowed calls may be made in every poll.
static KNOWN: Mutex<Option<HashMap<usize, Arc<[Frame]>>>> = Mutex::new(None);

/// The functions of a stack, innermost first.
pub(crate) fn resolve(stack: &[usize]) -> Vec<Frame> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    let mut frames = Vec::new();
    for &address in stack {
        let here = known.entry(address).or_insert_with(|| at(address));
        frames.extend(here.iter().cloned());
    }
    frames
}

fn at(address: usize) -> Arc<[Frame]> {
    let mut frames = Vec::new();
    backtrace::resolve(
        std::ptr::without_provenance_mut::<c_void>(address),
        |symbol| {
            // The alternate form has no hashes.
            let name = symbol.name().map(|name| format!("{name:#}"));
            let name = name.unwrap_or_else(|| format!("{address:#x}"));
            let file = symbol.filename().map(PathBuf::from);
            let guess = file.as_deref().and_then(|file| with_path(&name, file));
            frames.push(Frame {
                is_guessed: guess.is_some(),
                name: guess.unwrap_or(name),
                place: file.zip(symbol.lineno()),
            });
        },
    );
    if frames.is_empty() {
        frames.push(Frame {
            name: format!("{address:#x}"),
            is_guessed: false,
            place: None,
        });
    }
    frames.into()
}

impl Frame {
    /// The path without what stands before it: `a::b` of `<&mut a::b as c::d>::e`.
    ///
    /// Where the type has no path (`<T as c::d>::e`) it is the trait's.
    pub(crate) fn path(&self) -> &str {
        let path = bare(&self.name);
        match path.split_once(" as ") {
            Some((before, of_trait)) if !before.contains("::") => bare(of_trait),
            _ => path,
        }
    }

    pub(crate) fn is_of(&self, prefixes: &[&str]) -> bool {
        let path = self.path();
        prefixes.iter().any(|prefix| path.starts_with(prefix))
    }
}

/// The name with its path, if it has none. Debug information of lines alone
/// (`line-tables-only`) has only the last part of it, but the file: crates and modules are
/// where they are by custom.
fn with_path(name: &str, file: &Path) -> Option<String> {
    let (own, _) = name.split_once('<').unwrap_or((name, ""));
    if own.is_empty() || own.contains("::") {
        return None;
    }
    modules(file).map(|path| format!("{path}::{name}"))
}

/// `tokio::process` of `tokio-1.54.1/src/process/mod.rs`, `files::a` of `tests/files/a.rs`.
fn modules(file: &Path) -> Option<String> {
    let file = file.with_extension("");
    let parts: Vec<_> = file
        .iter()
        .map(|part| part.to_str())
        .collect::<Option<_>>()?;
    let folder = |part: &&str| matches!(*part, "src" | "tests" | "examples" | "benches");
    let folder = parts.iter().rposition(folder)?;
    let (mut path, rest) = (Vec::new(), &parts[folder + 1..]);
    if parts[folder] == "src" {
        let package = parts[..folder].last()?;
        // In this workspace our own folder has another name.
        let is_own = file.starts_with(env!("CARGO_MANIFEST_DIR"));
        path.push(if is_own {
            env!("CARGO_PKG_NAME")
        } else {
            without_version(package)
        });
    }
    let names_none = ["lib", "main", "mod"];
    path.extend(rest.iter().filter(|part| !names_none.contains(part)));
    (!path.is_empty()).then(|| path.join("::").replace('-', "_"))
}

/// The name of a package, of which a registry's folder also has the version.
fn without_version(package: &str) -> &str {
    let is_version = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    match package
        .match_indices('-')
        .find(|(at, _)| is_version(&package[at + 1..]))
    {
        Some((at, _)) => &package[..at],
        None => package,
    }
}

fn bare(mut path: &str) -> &str {
    loop {
        let rest = path.trim_start_matches(['<', '&', '*', '(', '[']);
        let rest = ["mut ", "const ", "dyn "]
            .iter()
            .find_map(|word| rest.strip_prefix(word))
            .unwrap_or(rest);
        if rest.len() == path.len() {
            return path;
        }
        path = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::with_path;
    use std::path::Path;

    fn named(name: &str, file: &str) -> Option<String> {
        with_path(name, Path::new(file))
    }

    #[test]
    fn short_names_get_the_path_of_their_file() {
        let named = |name: &str, file: &str| named(name, file).expect(name);
        let registry = "/home/me/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f";
        let tokio = format!("{registry}/tokio-1.54.1/src/process/mod.rs");
        assert_eq!(named("spawn", &tokio), "tokio::process::spawn");
        let util = format!("{registry}/futures-util-0.3.34/src/lock/mutex.rs");
        let generic = named("lock<app::Db>", &util);
        assert_eq!(generic, "futures_util::lock::mutex::lock<app::Db>");
        let std = "/rustc/59807616e1/library/std/src/sys/sync/mutex/futex.rs";
        let lock = "std::sys::sync::mutex::futex::lock_contended";
        assert_eq!(named("lock_contended", std), lock);
        assert_eq!(named("load", "/home/me/my-app/src/main.rs"), "my_app::load");
        assert_eq!(named("load", "tests/files/a.rs"), "files::a::load");
        let own = concat!(env!("CARGO_MANIFEST_DIR"), "/src/calls.rs");
        assert_eq!(named("capture", own), "offramp_strict::calls::capture");
    }

    #[test]
    fn whole_names_stay() {
        assert_eq!(named("app::load", "/x/src/other.rs"), None);
        let method = "<app::Db as app::Load>::load";
        assert_eq!(named(method, "/x/src/other.rs"), None);
        assert_eq!(named("sqlite3_step", "/x/sqlite3.c"), None);
    }
}
