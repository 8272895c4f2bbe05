use offramp::{offload_cpu, offload_io};

#[offload_io]
async fn asynchronous() {}

#[offload_cpu]
const fn constant() {}

#[offload_io]
extern "C" fn foreign() {}

#[offload_io]
unsafe fn dangerous() {}

#[offload_cpu]
fn endless() -> ! {
    loop {}
}

#[offload_io]
#[offload_cpu]
fn twice() {}

#[offload_io]
unsafe extern "C" fn variadic(first: u8, _: ...) {
    let _ = first;
}

fn main() {}
