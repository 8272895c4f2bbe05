use offramp::offload_io;

// Options and signature at once.
#[offload_io(time_out = "2s", pool = 1)]
fn unknown(text: &str) -> usize {
    text.len()
}

#[offload_io(label = "a", on = &x, label = "b")]
fn twice() {}

#[offload_io(label = name())]
fn label_is_a_literal() {}

#[offload_io("2s")]
fn no_name() {}

#[offload_io(timeout)]
fn no_value() {}

#[offload_io(crate = "offramp")]
fn crate_is_a_path() {}

#[offload_io(timeout = 2)]
fn no_unit() {}

#[offload_io(timeout = "2 days")]
fn no_such_unit() {}

#[offload_io(timeout = "0ms")]
fn no_time() {}

#[offload_io(timeout = "0.5ns")]
fn too_fine() {}

#[offload_io(timeout = "6000000h")]
fn too_long() {}

fn main() {}
