//! Under offramp itself: what is offloaded is not in the poll.

mod common;

use common::{is_interposed, report};
use offramp::{Offload, offload_cpu, offload_io};
use std::io;

#[offramp_strict::test(flavor = "plain")]
async fn offloaded_calls_are_not_reported() -> io::Result<()> {
    for _ in 0..50 {
        let text = offload_io(|| std::fs::read("Cargo.toml")).flatten().await?;
        assert!(!text.is_empty());
        let sum = offload_cpu(|| (0..1_000_u64).sum::<u64>()).await;
        assert_eq!(sum.map_err(io::Error::other)?, 499_500);
    }
    Ok(())
}

#[test]
fn the_same_call_in_the_poll_is() {
    if !is_interposed() {
        return;
    }
    let report = report(|| std::fs::read("Cargo.toml").unwrap());
    assert!(report.starts_with("a poll made a blocking call: open64(\"Cargo.toml\")"));
    assert!(report.contains("\n  in offloaded::"), "{report}");
}

/// Its first call starts its threads, and asks for the number of CPUs.
#[test]
fn pools_may_be_made_in_a_poll() {
    for _ in 0..20 {
        offramp_strict::run(async {
            let offload = Offload::builder().build().unwrap();
            let io = offload_io(|| std::fs::metadata("Cargo.toml")).on(&offload);
            assert!(io.await.unwrap().is_ok());
            assert_eq!(offload_cpu(|| 7).on(&offload).await.unwrap(), 7);
        });
    }
}

/// To wait in the poll is to block, whoever runs the call.
#[test]
fn waiting_for_an_offloaded_call_is_reported() {
    if !is_interposed() {
        return;
    }
    let report = report(|| {
        let nap = || std::thread::sleep(std::time::Duration::from_millis(60));
        offload_io(nap).wait().unwrap();
    });
    assert!(report.contains("which waited for "), "{report}");
}
