//! Every planted bug is found: each is switched on in a process of its own, which
//! has to fail.

use std::process::{Command, Stdio};

/// A mutation by the name at its line, and the model that must not survive it.
const PLANTED: &[(&str, &str)] = &[
    ("state: relaxed", "job::run_and_await"),
    (
        "state: claim without compare",
        "job::drop_against_claim_and_completion",
    ),
    (
        "state: claim without compare",
        "job::deadline_against_claim_and_completion",
    ),
    (
        "outbox: unguarded",
        "outbox::a_waker_put_in_while_the_guard_leaves",
    ),
    (
        "outbox: guarded for ever",
        "outbox::a_waker_put_in_while_the_guard_leaves",
    ),
    (
        "alarms: over unseen",
        "alarms::expiry_with_every_worker_stuck",
    ),
    (
        "state: claim without compare",
        "job::taken_back_against_the_workers_pop",
    ),
    (
        "state: claim without compare",
        "job::a_kept_job_against_drop",
    ),
    ("state: waker published late", "job::run_and_await"),
    (
        "state: nobody frees",
        "job::drop_against_claim_and_completion",
    ),
    (
        "state: unwanted and run",
        "job::drop_on_pool_against_claim_and_completion",
    ),
    (
        "queue: must run, and discarded",
        "queue::a_discarding_shutdown_against_jobs_that_must_run",
    ),
    (
        "queue: an orphan for ever",
        "crew::the_orphan_limit_against_completion",
    ),
    (
        "tenants: a lane for each call",
        "crew::a_tenants_calls_share_a_lane",
    ),
    (
        "lanes: full and served",
        "crew::a_full_lane_against_push_and_completion",
    ),
    (
        "queue: full for ever",
        "crew::a_full_lane_against_push_and_completion",
    ),
    (
        "lanes: a place kept too long",
        "lanes::a_vanishing_lane_against_push",
    ),
    (
        "lanes: let go with a charge on its way",
        "lanes::a_charge_against_a_lane_let_go",
    ),
    (
        "room: evicted unclaimed",
        "lanes::an_overflow_against_claim_and_cancel",
    ),
    (
        "lanes: never too old",
        "lanes::a_class_passed_over_against_time",
    ),
    (
        "lanes: buried before it was let go",
        "job::a_kept_job_against_drop",
    ),
    (
        "inbox: relaxed push",
        "queue::a_push_against_close_is_drained_or_refused",
    ),
    (
        "inbox: relaxed push",
        "queue::a_chain_against_close_is_drained_or_refused",
    ),
    ("chain: each job alone", "queue::a_chain_keeps_its_order"),
    (
        "chain: refused, and room for one given back",
        "queue::a_chain_against_close_is_drained_or_refused",
    ),
    (
        "queue: admit in two steps",
        "queue::capacity_is_never_exceeded_nor_lost",
    ),
    (
        "queue: admit in two steps",
        "queue::room_for_some_of_several_is_neither_exceeded_nor_lost",
    ),
    (
        "queue: what was taken looked at last",
        "queue::a_job_that_comes_and_goes_takes_no_room_from_another",
    ),
    (
        "queue: never looks at what was taken",
        "queue::a_job_that_comes_and_goes_takes_no_room_from_another",
    ),
    (
        "queue: room never given up",
        "queue::a_cancelled_job_leaves_room_at_once",
    ),
    (
        "queue: no look after unlocking",
        "queue::no_shell_stays_behind",
    ),
    (
        "crew: claim by the woken",
        "crew::two_submitters_against_park",
    ),
    ("crew: no fence after push", "crew::push_against_park"),
    (
        "crew: no look after searching",
        "crew::warm_rendezvous_at_cap_two",
    ),
    (
        "crew: no look after searching",
        "crew::a_chain_against_two_workers_that_park",
    ),
    (
        "crew: jobs left behind",
        "crew::jobs_in_a_workers_hands_against_park",
    ),
    ("crew: no look before sleeping", "crew::push_against_park"),
    (
        "crew: time-out beats claim",
        "crew::expiry_against_claim_for_a_job_that_is_dropped",
    ),
    (
        "crew: no last look",
        "crew::expiry_against_push_with_a_worker_that_leaves",
    ),
    (
        "crew: no look after a refusal",
        "crew::a_refused_spawn_with_nobody_else_fails_every_job",
    ),
    ("crew: no last look", "crew::resize_against_push_and_park"),
    (
        "crew: no look after lending",
        "crew::a_turn_lent_against_push_and_pop",
    ),
    (
        "crew: no growth by time",
        "crew::a_refused_spawn_is_retried_by_time",
    ),
    (
        "queue: closed and seemingly empty",
        "residents::a_root_against_stop",
    ),
    (
        "residents: no look before sleeping",
        "residents::a_root_against_a_resident_going_to_wait",
    ),
    (
        "residents: no look for a stop",
        "residents::a_submitter_against_stop",
    ),
    (
        "residents: a stop unheard",
        "residents::a_root_against_stop",
    ),
    (
        "residents: root on a waiting worker",
        "residents::a_root_from_outside_while_everybody_waits",
    ),
    (
        "residents: roots spawned",
        "residents::a_root_that_submits_another_before_its_join_waits",
    ),
    (
        "residents: roots spawned",
        "residents::a_root_from_a_piece_while_everybody_waits",
    ),
    (
        "residents: roots spawned",
        "residents::a_root_from_outside_while_everybody_waits",
    ),
    (
        "residents: roots spawned, declined on roots",
        "residents::a_root_from_a_piece_while_everybody_waits",
    ),
    (
        "residents: roots broadcast, declined on roots",
        "residents::a_root_from_outside_while_everybody_waits",
    ),
    (
        "residents: roots broadcast",
        "residents::a_root_from_outside_while_everybody_waits",
    ),
    (
        "residents: no look after lingering",
        "residents::a_root_against_a_resident_that_lingers",
    ),
    (
        "residents: a stop left to the doorman",
        "residents::a_stop_against_a_resident_that_lingers",
    ),
    (
        "residents: a stop without the doorman",
        "residents::a_stop_against_a_doorman_that_sleeps",
    ),
    (
        "doorman: no look before sleeping",
        "residents::a_root_against_a_doorman_that_sleeps",
    ),
    (
        "residents: a doorman that sleeps on",
        "residents::a_roots_piece_against_a_doorman_that_goes_to_sleep",
    ),
    (
        "residents: same epoch",
        "residents::a_release_that_does_not_arrive",
    ),
    (
        "residents: no fence after push",
        "residents::a_root_against_a_resident_going_to_wait",
    ),
    (
        "residents: roots left behind",
        "residents::roots_in_a_workers_hands_against_the_bell",
    ),
    (
        "interrupt: over amidst the hook",
        "interrupt::a_hook_against_the_end_of_its_call",
    ),
    (
        "interrupt: the worker left asleep",
        "interrupt::a_hook_against_the_end_of_its_call",
    ),
    (
        "alarms: no look before sleeping",
        "alarms::arming_against_sleep",
    ),
    (
        "alarms: no fence after arming",
        "alarms::arming_against_sleep",
    ),
    (
        "alarms: poked unseen",
        "alarms::disarm_and_close_against_sleep",
    ),
    (
        "alarms: over unseen",
        "alarms::a_waker_changed_while_the_alarm_rings",
    ),
    ("mark: task published late", "mark::a_watcher_against_polls"),
    ("mark: no second look", "mark::a_watcher_against_polls"),
    ("mark: inner task kept", "mark::a_watcher_against_polls"),
    (
        "mark: task of the pause kept",
        "mark::a_watcher_against_a_pause",
    ),
    (
        "mark: gone amidst a capture",
        "mark::a_capture_against_the_end_of_its_thread",
    ),
    (
        "alarms: no look before leaving",
        "alarms::arming_against_leaving",
    ),
];

#[test]
fn every_planted_bug_is_found() {
    if std::env::var_os("OFFRAMP_PLANTED").is_some() {
        return;
    }
    let mut survived = Vec::new();
    for (bug, model) in PLANTED {
        let binary = std::env::current_exe().expect("the path of this test binary");
        let output = Command::new(binary)
            .env("OFFRAMP_PLANTED", bug)
            .args([&format!("core::models::{model}"), "--exact"])
            .stdin(Stdio::null())
            .output()
            .expect("the test binary runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("running 1 test"), "no such model: {model}");
        let red = !output.status.success();
        println!("{} {bug:48} {model}", if red { "red  " } else { "GREEN" });
        if !red {
            survived.push(bug);
        }
    }
    assert!(survived.is_empty(), "no model fails on {survived:?}");
}
