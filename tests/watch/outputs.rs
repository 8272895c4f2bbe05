//! Reports as records, events, lines of JSON and text.

use super::common::{PATIENCE, alone};
use super::scene::{Scene, sleep};
use offramp::watch::{Report, Watch, Watchdog, to_json_lines, to_log, to_tracing, to_writer};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

/// What is written is kept.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Every record of this crate's.
struct Records(Mutex<Vec<(log::Level, String)>>);

static RECORDS: Records = Records(Mutex::new(Vec::new()));

impl log::Log for Records {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.target() == "offramp::watch" {
            let line = (record.level(), record.args().to_string());
            self.0.lock().unwrap().push(line);
        }
    }

    fn flush(&self) {}
}

#[test]
fn every_output_gets_every_report() {
    alone("outputs::every_output_gets_every_report", || {
        log::set_logger(&RECORDS).unwrap();
        log::set_max_level(log::LevelFilter::Info);
        let (text, lines, events) = (Kept::default(), Kept::default(), Kept::default());
        let writer = events.clone();
        // Not by its `init`, which takes the log as well where other crates have it so.
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        let builder = Watchdog::builder()
            .report_to(|_: &Report| panic!("an output that panics harms no other"))
            .report_to(to_log())
            .report_to(to_writer(text.clone()))
            .report_to(to_json_lines(lines.clone()))
            .report_to(to_tracing());
        let scene = Scene::with(builder);
        let told = async { sleep(&scene, "told") }.watched("told");
        pollster::block_on(told.in_lane("reports"));
        scene.whole_incident("told");
        let reports = scene.end();

        let expected: Vec<_> = reports.iter().map(ToString::to_string).collect();
        assert_eq!(text.text(), expected.join("\n") + "\n");

        let lines = lines.text();
        let lines: Vec<serde_json::Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), reports.len());
        assert_eq!(lines[0]["incident"], reports[0].incident);
        assert_eq!(lines[0]["task"]["name"], "told");
        assert_eq!(lines[0]["task"]["lane"], "reports");
        assert!(expected[0].contains("in lane `reports`"), "{}", expected[0]);
        assert_eq!(lines[0]["state"]["kind"], "system_call");
        assert_eq!(lines[0]["advice"]["wrap_in"], "offload_io");
        let frames = lines[0]["frames"].as_array().unwrap();
        assert_eq!(frames.len(), reports[0].frames.len());
        assert!(frames.iter().any(|frame| frame["is_blamed"] == true));
        assert_eq!(lines.last().unwrap()["phase"], "over");

        let records = RECORDS.0.lock().unwrap();
        let warnings = records
            .iter()
            .filter(|(level, _)| *level == log::Level::Warn);
        let warnings: Vec<_> = warnings.map(|(_, line)| line.clone()).collect();
        assert_eq!(warnings, expected);
        let (level, start) = &records[0];
        assert_eq!(*level, log::Level::Info);
        assert!(start.contains("25ms"), "{start}");

        let events = events.text();
        assert!(events.contains("incident=1"), "{events}");
        assert!(events.contains("name=\"told\""), "{events}");
        assert!(events.contains("lane=\"reports\""), "{events}");
        assert!(events.contains("blocks its event loop"), "{events}");
    });
}

/// A reporter that is stuck loses reports, and counts them; the watchdog goes on.
#[test]
fn reports_that_nobody_takes_are_counted() {
    alone("outputs::reports_that_nobody_takes_are_counted", || {
        use super::common::{Gate, wait_until};
        use std::time::Duration;
        let gate = Gate::new();
        let closed = gate.clone();
        let watchdog = Watchdog::builder()
            .threshold(Duration::from_millis(2))
            .report_to(move |_: &Report| closed.pass())
            .start()
            .unwrap();
        wait_until("some are lost", || {
            pollster::block_on(
                async { std::thread::sleep(Duration::from_millis(10)) }.watched("lost"),
            );
            watchdog.stats().lost_reports > 0
        });
        gate.open();
        assert!(watchdog.stop(PATIENCE));
    });
}
