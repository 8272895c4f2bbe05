//! From return addresses to names.

use std::collections::HashMap;
use std::ffi::c_void;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// One function of a stack, inlined ones too.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// The path of the function, or where it would be.
    pub(crate) name: String,
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
            let file = symbol.filename().map(PathBuf::from);
            frames.push(Frame {
                name: name.unwrap_or_else(|| format!("{address:#x}")),
                place: file.zip(symbol.lineno()),
            });
        },
    );
    if frames.is_empty() {
        frames.push(Frame {
            name: format!("{address:#x}"),
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
