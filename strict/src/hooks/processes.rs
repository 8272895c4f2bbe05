//! Starting children, and waiting for them.

use super::take_over;
use crate::note::Argument;
use libc::{id_t, idtype_t, pid_t, posix_spawn_file_actions_t, posix_spawnattr_t, siginfo_t};
use std::ffi::{c_char, c_int};

/// A look at whether the child has ended does not wait.
fn waits(options: c_int) -> Option<Argument> {
    (options & libc::WNOHANG == 0).then_some(Argument::None)
}

take_over! {
    at_once {
        fn posix_spawn(
            child: *mut pid_t,
            path: *const c_char,
            actions: *const posix_spawn_file_actions_t,
            attributes: *const posix_spawnattr_t,
            arguments: *const *mut c_char,
            environment: *const *mut c_char,
        ) -> c_int = Some(Argument::Text(path));
        fn posix_spawnp(
            child: *mut pid_t,
            file: *const c_char,
            actions: *const posix_spawn_file_actions_t,
            attributes: *const posix_spawnattr_t,
            arguments: *const *mut c_char,
            environment: *const *mut c_char,
        ) -> c_int = Some(Argument::Text(file));
        fn waitpid(child: pid_t, status: *mut c_int, options: c_int) -> pid_t = waits(options);
        fn waitid(kind: idtype_t, id: id_t, info: *mut siginfo_t, options: c_int) -> c_int =
            waits(options);
    }
}
