//! The CPU pool takes no more CPUs than the process may use.
#![cfg(target_os = "linux")]

mod common;

use offramp::{Offload, defaults, offload_cpu};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

#[test]
fn the_default_number_of_threads_respects_the_affinity() {
    common::alone(
        "the_default_number_of_threads_respects_the_affinity",
        || {
            common::pin_to(1);
            assert_eq!(defaults::cpu_threads(), 1);
            let offload = Offload::builder().build().unwrap();
            let threads = offload_cpu(rayon::current_num_threads).on(&offload);
            assert_eq!(threads.wait().unwrap(), 1);
        },
    );
}

/// A cgroup of our own with half a CPU, where we may make one.
#[test]
fn the_default_number_of_threads_respects_the_cgroup_s_quota() {
    let name = "the_default_number_of_threads_respects_the_cgroup_s_quota";
    if std::env::var_os("OFFRAMP_TEST_QUOTA").is_some() {
        assert_eq!(defaults::cpu_threads(), 1);
        return;
    }
    // Version 2 has one tree, version 1 one for each controller.
    let root = Path::new("/sys/fs/cgroup");
    let (root, limits): (_, &[_]) = if root.join("cgroup.controllers").exists() {
        (root.to_owned(), &[("cpu.max", "50000 100000")])
    } else {
        let limits = &[
            ("cpu.cfs_period_us", "100000"),
            ("cpu.cfs_quota_us", "50000"),
        ];
        (root.join("cpu"), limits)
    };
    let group = root.join(format!("offramp-test-{}", std::process::id()));
    let limit = |(file, limit): &(&str, &str)| {
        // Not created: where there is no such controller there is no such file.
        let mut file = File::options().write(true).open(group.join(file))?;
        file.write_all(limit.as_bytes())
    };
    let quota = fs::create_dir(&group).and_then(|()| limits.iter().try_for_each(limit));
    if let Err(error) = quota {
        let _ = fs::remove_dir(&group);
        println!("not shown here, no cgroup with a quota can be made: {error}");
        return;
    }
    let binary = std::env::current_exe().unwrap();
    let script = format!(
        "echo $$ > {}/cgroup.procs && exec \"$0\" --exact {name}",
        group.display()
    );
    let output = Command::new("sh")
        .args(["-c", &script])
        .arg(binary)
        .env("OFFRAMP_TEST_QUOTA", "1")
        .output()
        .unwrap();
    let _ = fs::remove_dir(&group);
    assert!(output.status.success(), "{output:?}");
}
