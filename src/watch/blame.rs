//! Whose each frame of a stack is, and which one is to be changed.

use super::report::{Frame, Owner};
use super::stack::Resolved;
use super::state::State;
use super::task::Task;
use std::env;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::ptr;

/// Crates that run futures or stand between a runtime and a request's handler: their frames
/// are the same below every task.
const RUNTIMES: &[&str] = &[
    "std",
    "core",
    "alloc",
    "offramp",
    "tokio",
    "tokio_util",
    "smol",
    "async_executor",
    "async_global_executor",
    "async_io",
    "async_std",
    "async_task",
    "blocking",
    "futures",
    "futures_core",
    "futures_executor",
    "futures_lite",
    "futures_util",
    "pollster",
    "monoio",
    "glommio",
    "actix_rt",
    "pin_project",
    "pin_project_lite",
    "hyper",
    "hyper_util",
    "h2",
    "tower",
    "tower_http",
    "tower_layer",
    "tower_service",
    "axum",
    "axum_core",
    "matchit",
    "tracing",
    "tracing_futures",
    "rustc",
];

/// Where this crate's sources were when it was built: it may be a path dependency.
const OWN_SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/");

/// What symbols said, with owners; the one to blame is marked.
pub(super) fn frames(resolved: Vec<Resolved>, task: Option<&Task>) -> Vec<Frame> {
    let own_crates = [
        task.and_then(|task| crate_of(task.type_name?))
            .map(str::to_owned),
        executable(),
    ];
    let is_own = |name: &str| own_crates.iter().flatten().any(|own| own == name);
    let mut frames: Vec<Frame> = resolved
        .into_iter()
        .map(|resolved| {
            // Without a line, which is code that the compiler made, the file is the whole unit's, also
            // in a generic function of another crate's.
            let file = resolved.file.as_deref().filter(|_| resolved.line.is_some());
            let owner = owner(resolved.function.as_deref(), file, &is_own);
            Frame {
                function: resolved.function,
                file: resolved.file,
                line: resolved.line,
                module: resolved.module,
                offset: resolved.offset,
                build_id: resolved.build_id,
                is_inlined: resolved.is_inlined,
                owner,
                is_blamed: false,
            }
        })
        .collect();
    // Below the outermost watched poll there is the runtime, and whoever started it.
    if let Some(outermost) = frames.iter().rposition(is_mark) {
        for frame in &mut frames[outermost..] {
            frame.owner = Owner::Runtime;
        }
    }
    let first = |owner| frames.iter().position(|frame| frame.owner == owner);
    if let Some(blamed) = first(Owner::Application).or_else(|| first(Owner::Dependency)) {
        frames[blamed].is_blamed = true;
    }
    frames
}

/// Whether it is this crate's frame around a watched poll.
fn is_mark(frame: &Frame) -> bool {
    let is_by_name = frame.crate_name() == Some("offramp")
        && frame
            .function
            .as_deref()
            .is_some_and(|function| function.contains("::watch::"));
    is_by_name
        || frame.file.as_ref().is_some_and(|file| {
            let is_ours = file
                .to_str()
                .is_some_and(|file| file.starts_with(OWN_SOURCES) || file.contains("/offramp-"));
            is_ours && file.ends_with("src/watch/future.rs")
        })
}

fn owner(function: Option<&str>, file: Option<&Path>, is_own: &dyn Fn(&str) -> bool) -> Owner {
    let by_name = function.and_then(crate_of);
    if let Some(by_file) = file.and_then(|file| owner_by_file(file, by_name)) {
        return by_file;
    }
    match by_name {
        Some(name) if RUNTIMES.contains(&name) => Owner::Runtime,
        Some(name) if is_own(name) => Owner::Application,
        Some(_) => Owner::Dependency,
        None if function.is_some_and(is_below_main) => Owner::Runtime,
        None => Owner::System,
    }
}

fn owner_by_file(file: &Path, by_name: Option<&str>) -> Option<Owner> {
    let text = file.to_str()?;
    let extension = file.extension().and_then(|extension| extension.to_str());
    if extension != Some("rs") {
        return Some(Owner::System);
    }
    if text.starts_with("/rustc/") || text.contains("/lib/rustlib/src/") {
        return Some(Owner::Runtime);
    }
    if text.starts_with(OWN_SOURCES) || by_name == Some("offramp") {
        return Some(Owner::Runtime);
    }
    let package = ["/registry/src/", "/git/checkouts/"]
        .iter()
        .find_map(|folder| text.split_once(folder))
        // The registry, then `name-1.2.3`.
        .and_then(|(_, below)| below.split('/').nth(1));
    Some(match package {
        Some(package) if RUNTIMES.contains(&&*crate_of_package(package)) => Owner::Runtime,
        Some(_) => Owner::Dependency,
        None => Owner::Application,
    })
}

/// `tokio-util-0.7.1` is the crate `tokio_util`.
fn crate_of_package(package: &str) -> String {
    let version = package
        .match_indices('-')
        .find(|(dash, _)| package[dash + 1..].starts_with(|c: char| c.is_ascii_digit()));
    let end = version.map_or(package.len(), |(dash, _)| dash);
    package[..end].replace('-', "_")
}

/// The functions that every thread begins with.
fn is_below_main(function: &str) -> bool {
    let names = [
        "main",
        "_start",
        "start_thread",
        "clone",
        "clone3",
        "__clone3",
    ];
    names.contains(&function)
        || function.starts_with("__libc_start")
        || function.starts_with("__rust_")
}

/// The crate of a function or a type: `app` in `app::load`, `<app::Load as Future>::poll` and
/// `&mut app::Load`. `None` for a name without a path.
pub(super) fn crate_of(path: &str) -> Option<&str> {
    let mut path = path;
    loop {
        let rest = path.trim_start_matches(['<', '&', '*', '(', '[', ' ']);
        let rest = ["mut ", "dyn ", "const ", "impl "]
            .iter()
            .find_map(|word| rest.strip_prefix(word))
            .unwrap_or(rest);
        if rest.len() == path.len() {
            break;
        }
        path = rest;
    }
    let (name, _) = path.split_once("::")?;
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    // Before the first `::` there may be something else, as in `load<app::Load>`.
    (!name.is_empty() && name.chars().all(is_name)).then_some(name)
}

/// The crate of this program's `main`, as the executable's name tells; test binaries have a
/// hash at the end.
fn executable() -> Option<String> {
    let path = env::current_exe().ok()?;
    let stem = path.file_stem()?.to_str()?;
    let is_hash = |end: &str| end.len() == 16 && end.bytes().all(|byte| byte.is_ascii_hexdigit());
    let name = match stem.rsplit_once('-') {
        Some((name, end)) if is_hash(end) => name,
        _ => stem,
    };
    Some(name.replace('-', "_"))
}

impl Frame {
    /// The function's crate.
    pub(super) fn crate_name(&self) -> Option<&str> {
        self.function.as_deref().and_then(crate_of)
    }
}

/// The same for incidents at the same place of the application.
pub(super) fn place(task: &'static Task, state: &State, frames: &[Frame]) -> u64 {
    let mut hasher = DefaultHasher::new();
    std::mem::discriminant(state).hash(&mut hasher);
    let is_known = frames.iter().any(|frame| frame.owner == Owner::Application);
    let computes = matches!(state, State::BurningCpu);
    let mut count = 0;
    for (depth, frame) in frames.iter().enumerate() {
        let is_users = match is_known {
            true => frame.owner == Owner::Application,
            false => frame.owner != Owner::Runtime,
        };
        if !is_users {
            continue;
        }
        count += 1;
        frame.module.hash(&mut hasher);
        match &frame.function {
            // Where in a function it computes is chance.
            Some(function) if computes => function.hash(&mut hasher),
            None if computes && depth == 0 => {}
            _ => frame.offset.hash(&mut hasher),
        }
    }
    if count == 0 {
        ptr::from_ref(task).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_line_says_nothing_of_the_owner() {
        let frame = |function: &str, line| Resolved {
            function: Some(function.to_owned()),
            file: Some("/home/user/app/src/main.rs".into()),
            line,
            module: None,
            offset: 0,
            build_id: None,
            is_inlined: false,
        };
        let sort = frame("core::slice::sort::shared::smallsort::insert_tail", None);
        let frames = frames(vec![sort, frame("app::work", Some(7))], None);
        let owners: Vec<_> = frames.iter().map(|frame| frame.owner).collect();
        assert_eq!(owners, [Owner::Runtime, Owner::Application]);
        assert!(frames[1].is_blamed);
    }

    #[test]
    fn crates_of_paths() {
        for (path, name) in [
            ("app::load", Some("app")),
            (
                "<app::Load as core::future::future::Future>::poll",
                Some("app"),
            ),
            ("<&mut app::Load as core::fmt::Debug>::fmt", Some("app")),
            (
                "<alloc::boxed::Box<dyn app::Work> as Future>::poll",
                Some("alloc"),
            ),
            ("&mut dyn app::Work", Some("app")),
            ("main", None),
            ("load<app::Load>", None),
            ("{closure#0}", None),
        ] {
            assert_eq!(crate_of(path), name, "{path}");
        }
    }

    #[test]
    fn crates_of_packages() {
        for (package, name) in [
            ("tokio-1.54.1", "tokio"),
            ("tokio-util-0.7.0", "tokio_util"),
            ("base64-0.22.1", "base64"),
            ("x-2y-1.0.0", "x"),
            ("plain", "plain"),
        ] {
            assert_eq!(crate_of_package(package), name);
        }
    }

    #[test]
    fn owners() {
        let is_own = |name: &str| name == "app";
        let cargo = "/home/me/.cargo/registry/src/index-0123";
        for (function, file, expected) in [
            ("app::load", None, Owner::Application),
            ("rusqlite::Connection::execute", None, Owner::Dependency),
            ("std::thread::sleep", None, Owner::Runtime),
            ("clock_nanosleep", None, Owner::System),
            ("clone3", None, Owner::Runtime),
            ("load", Some("src/load.rs".to_owned()), Owner::Application),
            (
                "load",
                Some("/home/me/app/src/load.rs".to_owned()),
                Owner::Application,
            ),
            (
                "sleep",
                Some("/rustc/0123/library/std/src/thread/mod.rs".to_owned()),
                Owner::Runtime,
            ),
            (
                "poll",
                Some(format!("{cargo}/tokio-1.54.1/src/task.rs")),
                Owner::Runtime,
            ),
            (
                "execute",
                Some(format!("{cargo}/rusqlite-0.41.0/src/lib.rs")),
                Owner::Dependency,
            ),
            (
                "sqlite3_step",
                Some(format!("{cargo}/libsqlite3-sys-0.39.1/sqlite3.c")),
                Owner::System,
            ),
            (
                "poll",
                Some(format!("{OWN_SOURCES}watch/future.rs")),
                Owner::Runtime,
            ),
        ] {
            let file = file.as_deref().map(Path::new);
            assert_eq!(
                owner(Some(function), file, &is_own),
                expected,
                "{function} {file:?}"
            );
        }
    }
}
