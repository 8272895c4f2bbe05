//! Names of the system calls in which a thread may be found waiting.

/// The name behind each constant of the C library's, so that every processor has its own
/// numbers.
macro_rules! name_of {
    ($number:expr, everywhere { $($constant:ident)* } on x86_64 { $($old:ident)* }) => {
        match $number {
            $(libc::$constant => Some(stringify!($constant)),)*
            $(#[cfg(target_arch = "x86_64")]
            libc::$old => Some(stringify!($old)),)*
            _ => None,
        }
    };
}

/// `None`: not among them.
pub(super) fn name(number: i64) -> Option<&'static str> {
    let constant = name_of!(
        number,
        everywhere {
            SYS_accept SYS_accept4 SYS_bind SYS_bpf SYS_brk SYS_capget SYS_capset SYS_chdir
            SYS_chroot SYS_clock_gettime SYS_clock_nanosleep SYS_clone SYS_clone3 SYS_close
            SYS_close_range SYS_connect SYS_copy_file_range SYS_dup SYS_dup3
            SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2
            SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_faccessat SYS_faccessat2
            SYS_fadvise64 SYS_fallocate SYS_fchdir SYS_fchmod SYS_fchmodat SYS_fchown
            SYS_fchownat SYS_fcntl SYS_fdatasync SYS_fgetxattr SYS_finit_module
            SYS_flistxattr SYS_flock SYS_fremovexattr SYS_fsetxattr SYS_fstat SYS_fstatfs
            SYS_fsync SYS_ftruncate SYS_futex SYS_futex_waitv SYS_getcwd SYS_getdents64
            SYS_getpeername SYS_getpid SYS_getpriority SYS_getrandom SYS_getrusage
            SYS_getsockname SYS_getsockopt SYS_getxattr SYS_init_module
            SYS_inotify_add_watch SYS_inotify_init1 SYS_io_cancel SYS_io_destroy
            SYS_io_getevents SYS_io_setup SYS_io_submit SYS_io_uring_enter
            SYS_io_uring_register SYS_io_uring_setup SYS_ioctl SYS_keyctl SYS_kill
            SYS_lgetxattr SYS_linkat SYS_listen SYS_listxattr SYS_llistxattr
            SYS_lremovexattr SYS_lseek SYS_lsetxattr SYS_madvise SYS_mbind SYS_memfd_create
            SYS_membarrier SYS_migrate_pages SYS_mincore SYS_mkdirat SYS_mknodat SYS_mlock
            SYS_mlock2 SYS_mlockall SYS_mmap SYS_mount SYS_move_pages SYS_mprotect
            SYS_mq_open SYS_mq_timedreceive SYS_mq_timedsend SYS_mremap SYS_msgget
            SYS_msgrcv SYS_msgsnd SYS_msync SYS_munlock SYS_munlockall SYS_munmap
            SYS_name_to_handle_at SYS_nanosleep SYS_open_by_handle_at SYS_openat SYS_openat2
            SYS_pidfd_open SYS_pidfd_send_signal SYS_pipe2 SYS_pivot_root SYS_ppoll
            SYS_prctl SYS_pread64 SYS_preadv SYS_preadv2 SYS_prlimit64 SYS_process_madvise
            SYS_process_vm_readv SYS_process_vm_writev SYS_pselect6 SYS_ptrace SYS_pwrite64
            SYS_pwritev SYS_pwritev2 SYS_quotactl SYS_read SYS_readahead SYS_readlinkat
            SYS_readv SYS_recvfrom SYS_recvmmsg SYS_recvmsg SYS_removexattr SYS_renameat2
            SYS_request_key SYS_restart_syscall SYS_rt_sigaction SYS_rt_sigprocmask
            SYS_rt_sigsuspend SYS_rt_sigtimedwait SYS_sched_yield SYS_semget SYS_semop
            SYS_semtimedop SYS_sendfile SYS_sendmmsg SYS_sendmsg SYS_sendto SYS_setns
            SYS_setpriority SYS_setsockopt SYS_setxattr SYS_shmat SYS_shmdt SYS_shmget
            SYS_shutdown SYS_signalfd4 SYS_socket SYS_socketpair SYS_splice SYS_statfs
            SYS_statx SYS_swapoff SYS_swapon SYS_symlinkat SYS_sync SYS_syncfs SYS_tee
            SYS_tgkill SYS_timerfd_create SYS_timerfd_settime SYS_truncate SYS_umount2
            SYS_unlinkat SYS_unshare SYS_userfaultfd SYS_utimensat SYS_vhangup SYS_vmsplice
            SYS_wait4 SYS_waitid SYS_write SYS_writev
        }
        on x86_64 {
            SYS_access SYS_alarm SYS_chmod SYS_chown SYS_creat SYS_dup2 SYS_epoll_create
            SYS_epoll_wait SYS_eventfd SYS_fork SYS_futimesat SYS_getdents SYS_inotify_init
            SYS_lchown SYS_link SYS_lstat SYS_mkdir SYS_mknod SYS_newfstatat SYS_open
            SYS_pause SYS_pipe SYS_poll SYS_readlink SYS_rename SYS_rmdir SYS_select
            SYS_signalfd SYS_stat SYS_symlink SYS_unlink SYS_utime SYS_utimes SYS_vfork
        }
    );
    constant?.strip_prefix("SYS_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_names() {
        assert_eq!(name(libc::SYS_futex), Some("futex"));
        assert_eq!(name(libc::SYS_clock_nanosleep), Some("clock_nanosleep"));
        #[cfg(target_arch = "x86_64")]
        assert_eq!(name(libc::SYS_poll), Some("poll"));
        assert_eq!(name(-1), None);
        assert_eq!(name(i64::MAX), None);
    }
}
