use offramp::offload_io;
use std::pin::Pin;
use std::sync::Arc;

struct Client;

impl Client {
    #[offload_io]
    fn shared(&self) {}

    #[offload_io]
    fn exclusive(&mut self, name: &str) {
        let _ = name;
    }

    #[offload_io]
    fn typed(self: &Arc<Self>) {}

    #[offload_io]
    fn pinned(self: Pin<&mut Self>) {}

    #[offload_io]
    fn for_ever(&'static self) {}
}

fn main() {
    let _ = Client.shared();
}
