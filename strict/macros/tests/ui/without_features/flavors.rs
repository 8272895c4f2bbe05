#[offramp_strict::test]
async fn on_tokio_without_saying_so() {}

#[offramp_strict::test(flavor = "multi_thread")]
async fn on_tokio() {}

#[offramp_strict::test(flavor = "smol")]
async fn on_smol() {}

fn main() {}
