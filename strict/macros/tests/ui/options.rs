#[offramp_strict::test(flavour = "plain")]
async fn unknown() {}

#[offramp_strict::test(flavor = "threads")]
async fn unknown_flavor() {}

#[offramp_strict::test(flavor = plain)]
async fn no_string() {}

#[offramp_strict::test(flavor)]
async fn no_value() {}

#[offramp_strict::test(flavor = "plain", flavor = "plain")]
async fn twice() {}

#[offramp_strict::test(flavor = "plain", worker_threads = 2)]
async fn workers_of_nobody() {}

#[offramp_strict::test(flavor = "plain", worker_threads = 0)]
async fn no_workers() {}

#[offramp_strict::test("plain")]
async fn no_name() {}

fn main() {}
