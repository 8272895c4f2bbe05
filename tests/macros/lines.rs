//! Where an offloaded function waits: the options `lane` and `tenant`.

use super::common::{Gate, wait_until, watchdog};
use super::{one_worker, poll_once};
use offramp::{Lane, Offload, offload_io};
use std::io;
use std::sync::Arc;

struct Client {
    offload: Offload,
    lane: Lane,
}

impl Client {
    #[offload_io(on = &self.offload, lane = &self.lane)]
    fn waits(self: Arc<Self>, gate: Gate) -> io::Result<()> {
        gate.pass();
        Ok(())
    }
}

#[test]
fn lane_names_the_lane() {
    let _watchdog = watchdog("lane");
    let builder = Offload::builder().io_max_threads(2).max_orphans(1);
    let offload = builder.build().unwrap();
    let lane = offload.lane("of a test");
    let client = Arc::new(Client {
        offload: offload.clone(),
        lane,
    });
    // One that runs for nobody holds up the lane, and nobody else.
    let gate = Gate::new();
    let mut abandoned = Box::pin(Arc::clone(&client).waits(gate.clone()));
    assert!(poll_once(&mut abandoned).is_pending());
    wait_until("it runs", || offload.stats().io.running == 1);
    drop(abandoned);
    let open = Gate::new();
    open.open();
    let mut next = Box::pin(client.waits(open));
    assert!(poll_once(&mut next).is_pending());
    offload_io(|| ()).on(&offload).wait().unwrap();
    assert_eq!(offload.stats().io.queued, 1);
    gate.open();
    pollster::block_on(next).unwrap();

    let other = Client {
        offload: one_worker(),
        lane: offload.lane("of a test"),
    };
    let error = pollster::block_on(Arc::new(other).waits(gate)).unwrap_err();
    assert!(error.to_string().contains("lane"), "{error}");
}

#[offload_io(on = &offload, tenant = (session, "of a test"))]
fn of_a_tenant(offload: Offload, session: u32, gate: Gate) -> io::Result<u32> {
    let _keeps = offload;
    gate.pass();
    Ok(session)
}

#[test]
fn tenant_names_the_tenant() {
    let _watchdog = watchdog("tenant");
    let builder = Offload::builder().io_max_threads(4).max_orphans(1);
    let offload = builder.build().unwrap();
    let gate = Gate::new();
    let mut abandoned = Box::pin(of_a_tenant(offload.clone(), 1, gate.clone()));
    assert!(poll_once(&mut abandoned).is_pending());
    wait_until("it runs", || offload.stats().io.running == 1);
    drop(abandoned);
    // The tenant of the method's name, which its one orphan holds up.
    let call = offload_io(|| ()).on(&offload).tenant((1_u32, "of a test"));
    let next = call.try_spawn().unwrap();
    let open = Gate::new();
    open.open();
    let other = of_a_tenant(offload.clone(), 2, open);
    assert_eq!(pollster::block_on(other).unwrap(), 2);
    assert!(!next.is_finished());
    gate.open();
    next.wait().unwrap();
}
