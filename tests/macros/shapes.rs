//! What a function may look like, and what its code may be surrounded by.

use super::common::watchdog;
use super::{completed, one_worker};
use offramp::{Offload, OffloadError, offload_cpu, offload_io};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::thread::{self, ThreadId};

#[offload_io]
fn unit() {}

#[offload_io]
fn on_io() -> ThreadId {
    thread::current().id()
}

#[offload_cpu]
fn on_cpu() -> ThreadId {
    thread::current().id()
}

#[offload_io]
fn patterns(
    mut sum: u32,
    (a, mut b): (u32, u32),
    [first, .., last]: [u32; 4],
    ref by_ref: u32,
    _: u32,
    whole @ Pair { left, .. }: Pair,
) -> u32 {
    b += 1;
    sum += a + b + first + last + *by_ref + whole.right + left;
    sum
}

#[derive(Clone, Copy)]
struct Pair {
    left: u32,
    right: u32,
}

#[offload_io]
fn leaves_early(path: String) -> io::Result<usize> {
    if path.is_empty() {
        return Ok(0);
    }
    let text = std::fs::read_to_string(path)?;
    Ok(text.len())
}

#[offload_cpu]
fn generic<T, const N: usize>(items: [T; N], by: impl Fn(&T) -> T + Send + 'static) -> [T; N]
where
    T: Send + 'static,
{
    items.each_ref().map(by)
}

#[offload_cpu]
fn opaque(end: u8) -> Result<impl Iterator<Item = u8>, OffloadError> {
    Ok((0..end).filter(|n| n % 2 == 1))
}

#[offload_io]
fn borrows_for_ever(text: &'static str, or: Option<&'static [u8]>) -> &'static str {
    or.map_or(text, |bytes| std::str::from_utf8(bytes).unwrap())
}

/// Functions take and return borrows, and hold none.
#[offload_io]
fn takes_functions(
    plain: fn(&str) -> &str,
    boxed: Box<dyn for<'a> Fn(&'a str) -> &'a str + Send>,
    like: impl for<'a> PartialEq<&'a str> + Send + 'static,
    length: [u8; 'length: {
        break 'length 2;
    }],
) -> usize {
    assert!(like == "f");
    plain("abc").len() + boxed("de").len() + length.len()
}

#[offload_io]
#[allow(clippy::needless_pass_by_value)]
fn inner_attributes(#[cfg(any())] never: NoSuchType, #[allow(unused_mut)] mut n: u8) -> u8 {
    #![allow(unused_variables)]
    let unused = 1;
    n
}

#[cfg(any())]
#[offload_io]
fn configured_out() -> NoSuchType {}

#[offload_io]
#[cfg(any())]
fn configured_out() -> NoSuchType {}

mod inner {
    #[offramp::offload_io]
    pub(super) fn visible() -> u8 {
        7
    }
}

macro_rules! offloaded {
    ($name:ident, $argument:ident) => {
        #[offload_io]
        fn $name(x: u8, $argument: u8) -> u8 {
            x * 10 + $argument
        }
    };
}
offloaded!(r#move, y);

#[derive(Clone)]
struct Counter {
    by: u32,
    offload: Offload,
    name: String,
}

impl Counter {
    #[offload_io]
    fn by_value(self, n: u32) -> u32 {
        self.by + n
    }

    #[offload_io]
    fn by_mut_value(mut self, n: u32) -> Self {
        self.by += n;
        self
    }

    #[offload_cpu]
    fn by_arc(self: Arc<Self>) -> u32 {
        self.by
    }

    #[offload_cpu]
    fn by_mut_box(mut self: Box<Self>) -> Box<Self> {
        self.by *= 2;
        self
    }

    #[offload_io]
    fn without_self(by: u32) -> Option<u32> {
        Some(by)
    }

    #[offload_io(on = &self.offload)]
    fn on_its_own(self: Arc<Self>) -> Result<String, OffloadError> {
        Ok(self.name.clone())
    }
}

trait Size {
    fn size(self, by: usize) -> impl Future<Output = usize> + Send;
}

impl Size for Vec<u8> {
    #[offload_cpu]
    fn size(self, by: usize) -> usize {
        self.len() * by
    }
}

async fn every_shape() {
    let offload = one_worker();
    let calls = async {
        unit().await;
        assert_ne!(on_io().await, thread::current().id());
        assert_ne!(on_cpu().await, thread::current().id());
        let pair = Pair { left: 30, right: 4 };
        let sum = patterns(1, (2, 3), [10, 0, 0, 20], 100, 0, pair).await;
        assert_eq!(sum, 171);
        assert_eq!(leaves_early(String::new()).await.unwrap(), 0);
        assert!(leaves_early("Cargo.toml".to_owned()).await.unwrap() > 0);
        let missing = leaves_early("/nowhere".to_owned()).await.unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert_eq!(generic([1, 2, 3], |n| n + 1).await, [2, 3, 4]);
        let odd: Vec<_> = opaque(6).await.unwrap().collect();
        assert_eq!(odd, [1, 3, 5]);
        assert_eq!(borrows_for_ever("a", Some(b"b")).await, "b");
        let functions = takes_functions(|text| text, Box::new(|text| &text[1..]), "f", [0; 2]);
        assert_eq!(functions.await, 6);
        assert_eq!(inner_attributes(5).await, 5);
        assert_eq!(inner::visible().await, 7);
        assert_eq!(r#move(1, 2).await, 12);

        let counter = Counter {
            by: 3,
            offload: offload.clone(),
            name: "c".to_owned(),
        };
        assert_eq!(counter.clone().by_value(1).await, 4);
        assert_eq!(counter.clone().by_mut_value(5).await.by, 8);
        assert_eq!(Arc::new(counter.clone()).by_arc().await, 3);
        assert_eq!(Box::new(counter.clone()).by_mut_box().await.by, 6);
        assert_eq!(Counter::without_self(9).await, Some(9));
        assert_eq!(Arc::new(counter).on_its_own().await.unwrap(), "c");
        assert_eq!(vec![0; 3].size(2).await, 6);
    };
    offload.scoped(calls).await;
    assert_eq!(completed(&offload), (15, 6));
}

#[test]
fn every_shape_of_function_works_under_every_runtime() {
    let _watchdog = watchdog("every shape");
    let multi = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    // Spawned: the futures are `Send`.
    multi.block_on(async { tokio::spawn(every_shape()).await.unwrap() });
    let current = tokio::runtime::Builder::new_current_thread();
    { current }.build().unwrap().block_on(every_shape());
    smol::block_on(async { smol::spawn(every_shape()).await });
    futures::executor::block_on(every_shape());
}

/// Names that generated code might have meant.
#[allow(non_camel_case_types, dead_code, non_upper_case_globals)]
mod shadowed {
    pub(crate) struct Result;
    pub(crate) struct Option;
    pub(crate) struct Ok;
    pub(crate) struct Err;
    pub(crate) struct Duration;
    pub(crate) struct Clone;
    pub(crate) mod std {}
    pub(crate) mod core {}
    pub(crate) mod offramp {}
    pub(crate) fn offload_io() {}
    pub(crate) trait Everywhere: Sized {
        fn settle(self) {}
        fn timeout(self) {}
        fn label(self) {}
        fn on(self) {}
        fn clone(&self) {}
    }
    impl<T> Everywhere for T {}

    #[::offramp::offload_io(timeout = "100h", label = "shadowed", on = &job)]
    pub(crate) fn shadowed(
        job: ::offramp::Offload,
        call: u8,
        returns: u8,
        on: u8,
        arg4: u8,
        (x,): (u8,),
    ) -> ::std::io::Result<u8> {
        let _ = job;
        let done = ::std::result::Result::Ok(call + returns + on + arg4 + x);
        macro_rules! concat {
            ($($any:tt)*) => {
                0
            };
        }
        done.map(|sum| sum + concat!(1))
    }
}

#[test]
fn generated_code_means_what_it_names() {
    let _watchdog = watchdog("hygiene");
    let call = shadowed::shadowed(one_worker(), 1, 2, 3, 4, (5,));
    assert_eq!(pollster::block_on(call).unwrap(), 15);
}

/// The user's code is linted as before, and the generated code is not: this file compiles
/// without warnings under clippy.
mod lints {
    #![deny(warnings, clippy::pedantic, unused_qualifications)]
    use super::{offload_cpu, offload_io};

    #[offload_io]
    #[expect(unused_variables, unused_mut)]
    fn unused(argument: u8, mut never_changed: u8) -> u8 {
        never_changed
    }

    #[offload_io]
    #[expect(clippy::len_zero)]
    fn compares_a_length(text: String) -> bool {
        text.len() == 0
    }

    #[offload_cpu]
    #[expect(clippy::cast_possible_truncation)]
    fn casts(n: u32) -> u8 {
        n as u8
    }

    struct Unit;

    impl Unit {
        #[offload_cpu]
        fn ignores_itself(self, _ignored: String, _: u8) {}
    }

    #[test]
    fn linted_functions_run() {
        pollster::block_on(async {
            assert_eq!(unused(1, 2).await, 2);
            assert!(compares_a_length(String::new()).await);
            assert_eq!(casts(4).await, 4);
            Unit.ignores_itself(String::new(), 0).await;
        });
    }
}
