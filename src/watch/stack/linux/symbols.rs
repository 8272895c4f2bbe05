//! From addresses to functions, files and lines.
//!
//! For a thread that has time: the first address of a module makes the debug information be
//! read, which takes from milliseconds to most of a second.

use super::super::types::Resolved;
use super::modules::{Generation, Module};
use super::unwind;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{LazyLock, Mutex, PoisonError};

/// So many addresses are remembered. A program has few that block.
const MOST_CACHED: usize = 4096;

#[derive(Default)]
struct Cache {
    generation: Option<Generation>,
    functions: HashMap<u64, Vec<Resolved>>,
}

/// The functions at `addresses`, which are a capture's: each with those that were inlined
/// into it in front. At least one for each address; without a name where none is known, and
/// then module, offset and build id are what a tool needs to find it.
pub(crate) fn symbolize(addresses: &[u64]) -> Vec<Resolved> {
    static CACHE: LazyLock<Mutex<Cache>> = LazyLock::new(Mutex::default);
    // Copied out: captures go on while names are looked for.
    let (generation, modules) = {
        let unwinding = unwind::lock();
        (unwinding.generation(), unwinding.modules())
    };
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    if cache.generation != generation {
        if cache.generation.is_some() {
            // It has a list of modules of its own, which it never looks at again.
            backtrace::clear_symbol_cache();
        }
        *cache = Cache {
            generation,
            functions: HashMap::new(),
        };
    }
    if cache.functions.len() + addresses.len() > MOST_CACHED {
        cache.functions.clear();
    }
    let mut all = Vec::new();
    for &address in addresses {
        let functions = cache.functions.entry(address);
        let functions = functions.or_insert_with(|| functions_at(address, &modules));
        all.extend_from_slice(functions);
    }
    all
}

fn functions_at(address: u64, modules: &[Module]) -> Vec<Resolved> {
    let module = modules
        .iter()
        .find(|module| module.range.contains(&address));
    let place = Resolved {
        function: None,
        file: None,
        line: None,
        module: module.map(Module::name),
        offset: address.wrapping_sub(module.map_or(0, |module| module.bias)),
        build_id: module.and_then(Module::build_id).map(str::to_owned),
        is_inlined: false,
    };
    let mut functions = Vec::new();
    // It takes return addresses, and looks one byte in front of them.
    let address = std::ptr::without_provenance_mut::<c_void>(address.wrapping_add(1) as usize);
    backtrace::resolve(address, |symbol| {
        functions.push(Resolved {
            function: symbol.name().map(|name| format!("{name:#}")),
            file: symbol.filename().map(Into::into),
            line: symbol.lineno(),
            is_inlined: true,
            ..place.clone()
        });
    });
    match functions.last_mut() {
        Some(outermost) => outermost.is_inlined = false,
        None => functions.push(place),
    }
    functions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn a_function_with_a_name() -> u64 {
        a_function_with_a_name as fn() -> u64 as usize as u64
    }

    #[test]
    fn a_function_has_its_name_and_place() {
        let functions = symbolize(&[a_function_with_a_name()]);
        let function = functions.last().unwrap();
        let name = function.function.as_deref().unwrap();
        assert!(name.ends_with("a_function_with_a_name"), "{name}");
        assert!(!function.is_inlined);
        let modules = unwind::lock().modules();
        assert_eq!(function.module, Some(modules[0].name()));
        let address = function.offset + modules[0].bias;
        assert_eq!(address, a_function_with_a_name());
        assert_eq!(symbolize(&[address]), functions);
    }

    #[test]
    fn what_is_in_no_module_has_its_address() {
        let nowhere = symbolize(&[16, u64::MAX]);
        assert_eq!(nowhere.len(), 2);
        assert_eq!((nowhere[0].offset, &nowhere[0].module), (16, &None));
        assert_eq!(nowhere[1].function, None);
    }
}
