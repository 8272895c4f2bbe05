//! From the settings to the backends.

use super::{Builder, ConfigError, LARGEST_STACK, LONGEST, MOST_THREADS, SMALLEST_STACK};
use crate::backend::threads::{OwnThreads, Settings, spawn_std};
use crate::backend::{Backend, OwnRayon, RayonSettings};
use crate::core::host::Size;
use crate::{defaults, environment};
use std::sync::Arc;
use std::time::Duration;

impl Builder {
    /// A thread for each job, gone soon after it.
    pub(super) fn dedicated_threads(&self, name: &str) -> Box<dyn Backend> {
        let spawner = self.io_spawner.clone();
        Box::new(OwnThreads::new(Settings {
            size: Size {
                min: 0,
                max: MOST_THREADS,
                most: MOST_THREADS,
                extra: 0,
                cpus: defaults::cpu_threads(),
                keep_alive: Duration::from_millis(1),
            },
            name: format!("{name}-own"),
            stack_size: self.io_stack_size,
            on_start: self.on_thread_start.clone(),
            on_stop: self.on_thread_stop.clone(),
            spawner: spawner.unwrap_or(Arc::new(spawn_std)),
        }))
    }

    pub(super) fn io_pool(&mut self, name: &str) -> Result<Box<dyn Backend>, ConfigError> {
        if let Some(backend) = self.io_backend.take() {
            exclusive("io_min_threads", self.io_min_threads.is_some())?;
            exclusive("io_max_threads", self.io_max_threads.is_some())?;
            exclusive("io_extra_threads", self.io_extra_threads.is_some())?;
            exclusive("io_keep_alive", self.io_keep_alive.is_some())?;
            exclusive("io_stack_size", self.io_stack_size.is_some())?;
            exclusive("io_spawner", self.io_spawner.is_some())?;
            return Ok(backend);
        }
        let max = environment::number(
            "io_max_threads",
            self.io_max_threads,
            defaults::IO_MAX_THREADS,
            1..=MOST_THREADS,
        )?;
        let min = environment::number(
            "io_min_threads",
            self.io_min_threads,
            defaults::IO_MIN_THREADS,
            0..=max,
        )?;
        let extra = environment::number(
            "io_extra_threads",
            self.io_extra_threads,
            defaults::IO_EXTRA_THREADS,
            0..=MOST_THREADS,
        )?;
        let keep_alive = environment::millis(
            "io_keep_alive",
            self.io_keep_alive,
            defaults::IO_KEEP_ALIVE,
            Duration::from_millis(1)..=LONGEST,
        )?;
        let stack_size = environment::optional_number(
            "io_stack_size",
            self.io_stack_size,
            SMALLEST_STACK..=LARGEST_STACK,
        )?;
        Ok(Box::new(OwnThreads::new(Settings {
            size: Size {
                min,
                max,
                most: MOST_THREADS,
                extra,
                cpus: defaults::cpu_threads(),
                keep_alive,
            },
            name: format!("{name}-io"),
            stack_size,
            on_start: self.on_thread_start.clone(),
            on_stop: self.on_thread_stop.clone(),
            spawner: self.io_spawner.take().unwrap_or(Arc::new(spawn_std)),
        })))
    }

    pub(super) fn cpu_pool(&mut self, name: &str) -> Result<Box<dyn Backend>, ConfigError> {
        if let Some(backend) = self.cpu_backend.take() {
            exclusive("cpu_threads", self.cpu_threads.is_some())?;
            return Ok(backend);
        }
        let threads = environment::number(
            "cpu_threads",
            self.cpu_threads,
            defaults::cpu_threads(),
            1..=MOST_THREADS,
        )?;
        Ok(Box::new(OwnRayon::new(RayonSettings {
            threads,
            cpus: defaults::cpu_threads(),
            name: format!("{name}-cpu"),
            on_start: self.on_thread_start.take(),
            on_stop: self.on_thread_stop.take(),
        })))
    }
}

fn exclusive(field: &'static str, is_set: bool) -> Result<(), ConfigError> {
    if is_set {
        let allowed = "unset, because a backend of your own is used";
        return Err(ConfigError::new(field, "set".to_owned(), allowed));
    }
    Ok(())
}
