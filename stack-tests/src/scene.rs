//! A call on a thread of its own, captured while it blocks.

use crate::calls::{self, CALLS, Call, Props};
use crate::stack::{self, Captured, Doing, How, Resolved, Target};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Against hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A C library without unwind tables: of its calls each may be missing.
const PARTIAL: bool = cfg!(target_env = "musl");

/// A thread that is in a call until the scene ends.
pub(crate) struct Scene {
    call: Call,
    pub(crate) target: Arc<Target>,
    thread: JoinHandle<()>,
}

impl Scene {
    fn begin(call: Call, props: Arc<Props>) -> Self {
        let (sender, receiver) = mpsc::channel();
        let thread = thread::spawn(move || {
            sender.send(Arc::new(Target::of_this_thread())).unwrap();
            std::hint::black_box(call.function)(&props);
        });
        let target = receiver.recv_timeout(PATIENCE).unwrap();
        Self {
            call,
            target,
            thread,
        }
    }

    /// What it does, once it is where it will be found.
    pub(crate) fn doing(&self) -> Doing {
        let since = Instant::now();
        loop {
            let doing = self.target.look();
            let is_there = match doing {
                Doing::SystemCall(call) => {
                    let name = self.target.system_call(&call).name;
                    self.call.waits_in.contains(&name.as_str())
                }
                Doing::OnCpu => self.call.waits_in.is_empty(),
                Doing::Unknown | Doing::Gone => false,
            };
            if is_there {
                return doing;
            }
            assert!(since.elapsed() < PATIENCE, "{}: {doing:?}", self.call.name);
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Its stack. On a machine that is busy a thread may not answer in time, or go on just
    /// then: another try, then.
    pub(crate) fn capture(&self) -> Captured {
        let since = Instant::now();
        loop {
            let captured = self.target.capture(&self.doing(), &|| true);
            // While the unwinder changes the stack under its feet, callers are lost.
            let is_lost = captured.is_partial && self.call.name == "panics";
            if !matches!(captured.how, How::None(_)) && !is_lost {
                return captured;
            }
            assert!(
                since.elapsed() < PATIENCE,
                "{}: {captured:?}",
                self.call.name
            );
        }
    }

    /// A capture, checked: the right way, whole, and it has the function in it.
    pub(crate) fn check(&self) -> Vec<Resolved> {
        // A thread may be seen while it is on its way into the function.
        let mut tries = std::iter::repeat_with(|| self.capture()).take(3);
        let captured = tries.find(|captured| self.is_in(captured));
        let captured = captured.unwrap_or_else(|| self.capture());
        let name = self.call.name;
        let wanted = match self.call.waits_in {
            [] => How::Signal,
            _ => How::NoSignal,
        };
        let functions = stack::symbolize(&captured.addresses);
        let printed = print(&functions);
        assert_eq!(captured.how, wanted, "{name}:\n{printed}");
        assert!(self.is_in(&captured), "{name}:\n{printed}");
        assert!(!captured.is_partial || PARTIAL, "{name}:\n{printed}");
        functions
    }

    /// A system that gives no stack of it says why.
    fn check_none(&self, runs: bool) -> &'static str {
        if runs {
            assert_eq!(self.target.look(), Doing::OnCpu);
        }
        let captured = self.target.capture(&self.target.look(), &|| true);
        assert_eq!(captured.addresses, []);
        assert!(captured.is_partial);
        match captured.how {
            How::None(why) => why,
            how => panic!("{}: {how:?}", self.call.name),
        }
    }

    /// Whether the function's own code is on the stack.
    fn is_in(&self, captured: &Captured) -> bool {
        has(captured, self.call.function)
    }

    /// A scene from its begin to its end.
    pub(crate) fn play<R>(call: Call, act: impl FnOnce(&Scene) -> R) -> R {
        let props = Arc::new(Props::new());
        let held = props.lock.lock().unwrap();
        let scene = Scene::begin(call, Arc::clone(&props));
        let result = act(&scene);
        drop(held);
        props.release();
        scene.thread.join().unwrap();
        result
    }
}

/// Whether this function's own code is on the stack.
pub(crate) fn has(captured: &Captured, function: fn(&Props)) -> bool {
    const MOST_CODE: u64 = 4096;
    let start = function as usize as u64;
    let mut addresses = captured.addresses.iter();
    addresses.any(|address| (start..start + MOST_CODE).contains(address))
}

pub(crate) fn print(functions: &[Resolved]) -> String {
    let lines = functions.iter().map(|function| {
        let name = function.function.as_deref().unwrap_or("?");
        let module = function.module.as_deref().unwrap_or("?");
        let place = match (&function.file, function.line) {
            (Some(file), Some(line)) => format!(" at {}:{line}", file.display()),
            _ => String::new(),
        };
        let inlined = if function.is_inlined {
            " (inlined)"
        } else {
            ""
        };
        format!(
            "    {name}{inlined} in {module}+{:#x}{place}\n",
            function.offset
        )
    });
    lines.collect()
}

/// What a system gives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Signals may be used.
    pub(crate) signals: bool,
    /// Threads that wait have stacks.
    pub(crate) waiting: bool,
    /// Threads that run have.
    pub(crate) running: bool,
    pub(crate) prints_stacks: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            signals: true,
            waiting: true,
            running: true,
            prints_stacks: false,
        }
    }
}

/// Each call once, with what this build and this system should show of it.
pub(crate) fn play_all(wanted: Wanted) {
    let mode = stack::mode(wanted.signals).to_string();
    println!("{mode}");
    if wanted.waiting {
        capture_the_main_thread();
    }
    for call in CALLS {
        let runs = call.waits_in.is_empty();
        if if runs { wanted.running } else { wanted.waiting } {
            let functions = Scene::play(*call, Scene::check);
            check_names(call, &functions, &mode);
            println!("{}: {} frames", call.name, functions.len());
            if wanted.prints_stacks {
                print!("{}", print(&functions));
            }
        } else {
            let why = Scene::play(*call, |scene| scene.check_none(runs));
            println!("{}: none, {why}", call.name);
        }
    }
}

/// This thread, which is the main one unless this is a test, captured by another.
fn capture_the_main_thread() {
    let target = Target::of_this_thread();
    let props = Props::new();
    thread::scope(|scope| {
        let (target, props) = (&target, &props);
        let other = scope.spawn(move || {
            let since = Instant::now();
            loop {
                let captured = target.capture(&target.look(), &|| true);
                if has(&captured, calls::sleeps) {
                    props.release();
                    return captured;
                }
                assert!(since.elapsed() < PATIENCE, "{captured:?}");
                thread::sleep(Duration::from_millis(1));
            }
        });
        calls::sleeps(props);
        let captured = other.join().unwrap();
        assert!(!captured.is_partial || PARTIAL, "{captured:?}");
    });
}

fn check_names(call: &Call, functions: &[Resolved], mode: &str) {
    let has_lines = mode.ends_with("functions and lines");
    let has_names = has_lines || mode.ends_with("functions, without lines and inlined ones");
    let is_stripped = mode.ends_with("stripped: modules and offsets");
    let printed = print(functions);
    let named = |name: &str| {
        let mut names = functions.iter().filter_map(|f| f.function.as_deref());
        names.any(|function| function.contains(name))
    };
    assert!(has_names || is_stripped, "{mode}");
    assert_eq!(named(call.name), has_names, "{}:\n{printed}", call.name);
    if let (true, Some(inlined)) = (has_lines, call.inlined) {
        assert!(named(inlined), "{}:\n{printed}", call.name);
    }
    // The C library may have debug information of its own.
    let our_module = std::env::current_exe().unwrap();
    let our_module = our_module.file_name().and_then(|name| name.to_str());
    let mut ours = functions
        .iter()
        .filter(|f| f.module.as_deref() == our_module);
    let has_places = ours.any(|f| f.line.is_some());
    assert_eq!(has_places, has_lines, "{}:\n{printed}", call.name);
    // The kernel's own code, mapped into each process, is no file.
    let has_modules = functions.iter().all(|f| f.module.is_some());
    assert!(has_modules, "{}:\n{printed}", call.name);
}
