use offramp::offload_io;

#[offload_io]
struct Client;

#[offload_io]
impl Client {
    fn call(self) {}
}

trait Call {
    #[offload_io]
    fn call(self);
}

fn main() {
    Client.call();
}
