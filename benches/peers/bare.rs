//! The least there can be: one thread with a list of closures that sleeps while there is none, and a channel back.
//!
//! No bound, no second thread, no order but one, no cancelling: two wake-ups are left. What takes longer than this,
//! or more calls of the kernel, is somebody's doing; what does not is that of the kernel and the runtime.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::thread::{self, Thread};

use tokio::sync::oneshot;

use crate::pools::Pool;

type Closure = Box<dyn FnOnce() + Send>;

#[derive(Clone)]
pub(crate) struct Bare(Arc<Shared>);

struct Shared {
    list: Arc<Mutex<List>>,
    thread: Thread,
}

#[derive(Default)]
struct List {
    closures: VecDeque<Closure>,
    is_closed: bool,
}

impl Bare {
    pub(crate) fn new() -> Self {
        let list = Arc::new(Mutex::new(List::default()));
        let thread = thread::spawn({
            let list = Arc::clone(&list);
            move || work(&list)
        });
        let thread = thread.thread().clone();
        Self(Arc::new(Shared { list, thread }))
    }

    fn hand_over<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> oneshot::Receiver<R> {
        let (sender, receiver) = oneshot::channel();
        // Whoever waited may have left.
        let closure = Box::new(move || drop(sender.send(work())));
        let mut list = self.0.list.lock().expect("no closure runs under the lock");
        list.closures.push_back(closure);
        drop(list);
        self.0.thread.unpark();
        receiver
    }
}

fn work(list: &Mutex<List>) {
    loop {
        let mut locked = list.lock().expect("no closure runs under the lock");
        let (next, is_closed) = (locked.closures.pop_front(), locked.is_closed);
        drop(locked);
        match next {
            Some(closure) => closure(),
            None if is_closed => return,
            None => thread::park(),
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Ok(mut list) = self.list.lock() {
            list.is_closed = true;
        }
        self.thread.unpark();
    }
}

impl Pool for Bare {
    type Started = oneshot::Receiver<u64>;

    fn start<F>(&self, work: F) -> Self::Started
    where
        F: FnOnce() -> u64 + Send + 'static,
    {
        self.hand_over(work)
    }

    fn value(outcome: <Self::Started as Future>::Output) -> u64 {
        outcome.expect("each closure is run")
    }

    /// As one closure.
    async fn all<F>(&self, works: impl Iterator<Item = F> + Send) -> Vec<u64>
    where
        F: FnOnce() -> u64 + Send + 'static,
    {
        let works: Vec<F> = works.collect();
        let all = self.hand_over(move || works.into_iter().map(|work| work()).collect());
        all.await.expect("each closure is run")
    }
}
