//! Finds borrows in the types of a signature: a job may outlive its caller.

use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::{
    Error, Expr, FnArg, Lifetime, ParenthesizedGenericArguments, Receiver, ReturnType, Signature,
    TraitBound, Type, TypeBareFn, TypeReference,
};

/// An error for each borrow in `signature`.
pub(crate) fn refuse(signature: &Signature, errors: &mut Vec<Error>) {
    for input in &signature.inputs {
        match input {
            FnArg::Receiver(receiver) => refuse_in_receiver(receiver, errors),
            FnArg::Typed(argument) => {
                Borrows::new(Place::Argument, errors).visit_type(&argument.ty);
            }
        }
    }
    if let ReturnType::Type(_, output) = &signature.output {
        Borrows::new(Place::Output, errors).visit_type(output);
    }
}

fn refuse_in_receiver(receiver: &Receiver, errors: &mut Vec<Error>) {
    match &receiver.reference {
        // `&self`, whose type is not in the source.
        Some((_, Some(lifetime))) if is_static(lifetime) => {}
        Some(_) => errors.push(Error::new_spanned(receiver, Place::Receiver.advice(None))),
        None => Borrows::new(Place::Receiver, errors).visit_type(&receiver.ty),
    }
}

#[derive(Clone, Copy)]
enum Place {
    Receiver,
    Argument,
    Output,
}

impl Place {
    fn advice(self, borrow: Option<&TypeReference>) -> String {
        match self {
            Self::Receiver => "a job may outlive its caller, so it cannot borrow `self`: take \
                `self: Arc<Self>`, or clone what the body needs and call a free function"
                .to_owned(),
            Self::Argument => format!(
                "a job may outlive its caller, so its arguments cannot be borrowed: {}",
                borrow.map_or(OWNED.to_owned(), owned_form)
            ),
            Self::Output => "the result comes from another thread, so it cannot be borrowed: \
                return an owned value"
                .to_owned(),
        }
    }
}

const OWNED: &str = "take an owned value, or an `Arc` of it";

/// What to take instead of a reference.
fn owned_form(borrow: &TypeReference) -> String {
    if borrow.mutability.is_some() {
        return "take the value, and give it back in the result".to_owned();
    }
    let owned = match &*borrow.elem {
        Type::Slice(slice) => {
            let element = &slice.elem;
            let text = element.to_token_stream().to_string();
            // One identifier, or else the tokens' spacing would show.
            if syn::parse_str::<syn::Ident>(&text).is_ok() {
                format!("Vec<{text}>")
            } else {
                "Vec<_>".to_owned()
            }
        }
        Type::Path(path) => match path.path.segments.last() {
            Some(last) if last.ident == "str" => "String".to_owned(),
            Some(last) if last.ident == "Path" => "PathBuf".to_owned(),
            Some(last) if last.ident == "OsStr" => "OsString".to_owned(),
            Some(last) if last.ident == "CStr" => "CString".to_owned(),
            _ => return OWNED.to_owned(),
        },
        _ => return OWNED.to_owned(),
    };
    format!("take `{owned}`")
}

fn is_static(lifetime: &Lifetime) -> bool {
    lifetime.ident == "static"
}

struct Borrows<'a> {
    place: Place,
    errors: &'a mut Vec<Error>,
    /// Lifetimes of a `for<..>` around: whoever calls chooses them.
    bound: Vec<Lifetime>,
}

impl<'a> Borrows<'a> {
    fn new(place: Place, errors: &'a mut Vec<Error>) -> Self {
        Self {
            place,
            errors,
            bound: Vec::new(),
        }
    }

    /// It says nothing about what this call borrows.
    fn is_free(&self, lifetime: &Lifetime) -> bool {
        is_static(lifetime) || self.bound.contains(lifetime)
    }

    fn found(&mut self, at: &dyn ToTokens, borrow: Option<&TypeReference>) {
        let error = Error::new_spanned(at.to_token_stream(), self.place.advice(borrow));
        self.errors.push(error);
    }
}

impl<'ast> Visit<'ast> for Borrows<'_> {
    fn visit_type_reference(&mut self, reference: &'ast TypeReference) {
        if reference
            .lifetime
            .as_ref()
            .is_some_and(|lifetime| self.is_free(lifetime))
        {
            self.visit_type(&reference.elem);
        } else {
            // What it refers to is borrowed with it.
            self.found(reference, Some(reference));
        }
    }

    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        if !self.is_free(lifetime) {
            self.found(lifetime, None);
        }
    }

    fn visit_trait_bound(&mut self, bound: &'ast TraitBound) {
        let outer = self.bound.len();
        let chosen = bound.lifetimes.iter().flat_map(|bound| &bound.lifetimes);
        for parameter in chosen {
            if let syn::GenericParam::Lifetime(parameter) = parameter {
                self.bound.push(parameter.lifetime.clone());
            }
        }
        visit::visit_path(self, &bound.path);
        self.bound.truncate(outer);
    }

    // A function that takes or returns borrows does not hold any.
    fn visit_type_bare_fn(&mut self, _: &'ast TypeBareFn) {}
    fn visit_parenthesized_generic_arguments(&mut self, _: &'ast ParenthesizedGenericArguments) {}
    // Not types: an array's length, and its loops' labels.
    fn visit_expr(&mut self, _: &'ast Expr) {}
}
