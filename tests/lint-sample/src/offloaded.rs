//! The same calls where blocking is right, and said to be.

use crate::sync_part;
use offramp::{OffloadedIter, offload_cpu, offload_dedicated, offload_io, offload_iter};
use std::error::Error;
use std::fs;
use std::net::{TcpListener, ToSocketAddrs};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{IntoIter, Receiver};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

pub async fn files(path: PathBuf) -> Result<u64> {
    let source = path.clone();
    let text = offload_io(
        #[allow(clippy::disallowed_methods)]
        || fs::read_to_string(source),
    )
    .await??;
    Ok(offload_io(move || sync_part::save(&path, &text)).await??)
}

pub async fn time() -> Result<u32> {
    Ok(offload_io(sync_part::tick).await?)
}

/// `receiver.iter()` would block in its `next`; this one's runs on the pool.
pub fn numbers(receiver: Receiver<u32>) -> OffloadedIter<IntoIter<u32>> {
    offload_iter(receiver.into_iter())
}

pub async fn processes() -> Result<bool> {
    let output = offload_io(
        #[allow(clippy::disallowed_methods)]
        || Command::new("true").output(),
    );
    Ok(output.await??.status.success())
}

pub async fn network(listener: TcpListener) -> Result<usize> {
    let lookup = offload_io(
        #[allow(clippy::disallowed_methods)]
        || "localhost:443".to_socket_addrs(),
    );
    let accepting = offload_dedicated(
        #[allow(clippy::disallowed_methods)]
        move || listener.accept().is_ok(),
    );
    Ok(lookup.await??.count() + usize::from(accepting.await?))
}

pub async fn http(agent: ureq::Agent) -> Result<String> {
    offload_io(move || sync_part::fetch(&agent)).await?
}

pub async fn database() -> Result<usize> {
    Ok(offload_io(sync_part::forget).await??)
}

pub async fn login(password: String, stored: String) -> Result<bool> {
    Ok(offload_cpu(move || sync_part::verify(&password, &stored)).await?)
}
