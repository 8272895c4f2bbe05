#[offramp_strict::test(flavor = "plain")]
fn sync() {}

#[offramp_strict::test(flavor = "plain")]
#[test]
async fn twice() {}

#[offramp_strict::test(flavor = "plain")]
struct NoFunction;

trait Tests {
    #[offramp_strict::test(flavor = "plain")]
    async fn no_body();
}

fn main() {}
