//! A child process that does not outlive its caller's interest.
//!
//! * The blocking call: `Command::new(..).output()`.
//! * The change: `offload_io_with(move |job| output(job, command)).await`. With plain
//!   `offload_io(move || command.output())` it would run on when the future is dropped, or
//!   its time is over.
//! * Better: `tokio::process` or `async-process` need no thread for each child. Take this
//!   where neither fits your runtime, or where the child is started by sync code.

use anyhow::{Result, bail, ensure};
use offramp::{Backlog, Job, Offload, OffloadError, offload_io_with};
use std::io::{self, Read, Seek};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// The longest pause between two looks at the child: so late is its end noticed, or the
/// caller's. (`wait` could not be ended by the caller.)
const LOOK: Duration = Duration::from_millis(10);

/// Killed and reaped when dropped, also by a panic.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Both fail only for a child that is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the command prints, and how it ends. Stopped or late, the child is killed.
fn output(job: &Job, mut command: Command) -> io::Result<(ExitStatus, Vec<u8>)> {
    // To a file, not through a pipe: a pipe that nobody reads stops the child when it is full.
    let mut stdout = tempfile::tempfile()?;
    let child = command
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .spawn()?;
    let mut child = Killed(child);
    let mut pause = Duration::from_millis(1);
    let status = loop {
        if let Some(status) = child.0.try_wait()? {
            break status;
        }
        job.checkpoint()?;
        std::thread::sleep(pause);
        pause = (pause * 2).min(LOOK);
    };
    let mut printed = Vec::new();
    stdout.rewind()?;
    stdout.read_to_end(&mut printed)?;
    Ok((status, printed))
}

/// This very program, as a child that prints, or that stays.
fn child(task: &str) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(task);
    Ok(command)
}

fn be_the_child(task: &str) {
    match task {
        "print" => (0..20_000).for_each(|line| println!("line {line}")),
        _ => std::thread::sleep(Duration::from_secs(600)),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    if let Some(task) = std::env::args().nth(1) {
        be_the_child(&task);
        return Ok(());
    }

    let command = child("print")?;
    let (status, printed) = offload_io_with(|job| Ok(output(job, command))).await??;
    let lines = printed.iter().filter(|&&byte| byte == b'\n').count();
    println!("a child that prints: {status}, {lines} lines");
    ensure!(status.success() && lines == 20_000, "output is missing");

    let command = child("stay")?;
    let call = offload_io_with(|job| Ok(output(job, command)));
    let dropped = tokio::time::timeout(Duration::from_millis(200), call).await;
    ensure!(dropped.is_err(), "the child did not stay");
    println!("a child that stays, its future dropped after 200 ms");

    let command = child("stay")?;
    let call = offload_io_with(|job| Ok(output(job, command)));
    // The job sees that its time is over when its caller does.
    let too_late = match call.timeout(Duration::from_millis(200)).await {
        Ok(Err(error)) if error.get_ref().is_some_and(|e| e.is::<OffloadError>()) => {
            error.to_string()
        }
        Err(error @ OffloadError::DeadlineExceeded { .. }) => error.to_string(),
        other => bail!("a call that is too late must say so: {other:?}"),
    };
    println!("a child that stays, with a time-out: {too_late}");

    // A job ends when it has killed its child and reaped it. Without this the process could
    // end first.
    let global = Offload::global()?;
    let report = global
        .shutdown(Duration::from_secs(60), Backlog::Discard)
        .await;
    println!("shut down: {report}");
    ensure!(report.is_complete(), "a child runs on");
    Ok(())
}
