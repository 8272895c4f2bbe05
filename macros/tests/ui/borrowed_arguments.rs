use offramp::{offload_cpu, offload_io};
use std::borrow::Cow;
use std::cell::Ref;
use std::ffi::{CStr, OsStr};
use std::fmt::Display;
use std::path::Path;

// All of a function's at once.
#[offload_io]
fn references(text: &str, path: &Path, bytes: &[u8], names: &[(u8, String)]) -> usize {
    text.len() + path.as_os_str().len() + bytes.len() + names.len()
}

#[offload_io]
fn platform(os: &OsStr, c: &CStr, number: &u32, buffer: &mut Vec<u8>) {
    let _ = (os, c, number, buffer);
}

#[offload_cpu]
fn within<'a>(
    text: Cow<'_, str>,
    cell: Option<Ref<'a, u8>>,
    shown: impl Display + 'a,
    boxed: Box<dyn Display + '_>,
    bound: impl for<'b> Fn(&'b str) -> &'b str + 'a,
    pair: (&'static str, &'a [u8]),
) {
    let _ = (text, cell, shown, boxed, bound, pair);
}

#[offload_cpu]
fn returned<'a>(text: String) -> Cow<'a, str> {
    text.into()
}

async fn callers_see_an_async_fn(text: &str) -> usize {
    platform(OsStr::new(""), c"", &1, &mut Vec::new()).await;
    returned(String::new()).await;
    references(text, Path::new(""), &[], &[]).await
}

fn main() {
    let _ = callers_see_an_async_fn("");
}
