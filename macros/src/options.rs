//! What stands in the attribute's parentheses.

use crate::duration;
use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprLit, Ident, Lit, LitStr, Path, Result, Token, parse_quote_spanned};

/// What an option's value is.
#[derive(Clone, Copy)]
enum Value {
    /// The path of `offramp`, where another crate re-exports it.
    Crate,
    /// An expression that is a reference to this type of `offramp`'s.
    Borrowed(&'static str),
    /// An expression that can be hashed.
    Key,
    /// A string.
    Text,
    /// A string that says a time.
    Time,
}

/// Each but `crate` is named after the method of `Offloaded` that takes it.
const KNOWN: [(&str, Value); 6] = [
    ("crate", Value::Crate),
    ("label", Value::Text),
    ("lane", Value::Borrowed("Lane")),
    ("on", Value::Borrowed("Offload")),
    ("tenant", Value::Key),
    ("timeout", Value::Time),
];

fn known() -> String {
    let names = KNOWN.map(|(name, _)| format!("`{name}`"));
    names.join(", ")
}

/// The options of one attribute.
pub(crate) struct Options {
    pub(crate) offramp: Path,
    /// Statements that evaluate them, in the order in which they were written.
    pub(crate) evaluate: TokenStream,
    /// The calls of the future's methods.
    pub(crate) methods: TokenStream,
    /// The expressions of the user's.
    pub(crate) expressions: Vec<Expr>,
    pub(crate) has_timeout: bool,
}

struct Assignment {
    name: Ident,
    value: Expr,
}

impl Parse for Assignment {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if !input.peek(Ident::peek_any) {
            let message = format!("expected `option = value`; the options are {}", known());
            return Err(input.error(message));
        }
        let name = input.call(Ident::parse_any)?;
        if !input.peek(Token![=]) {
            let message = format!("expected `{name} = value`; the options are {}", known());
            return Err(Error::new(name.span(), message));
        }
        input.parse::<Token![=]>()?;
        let value = input.parse()?;
        Ok(Self { name, value })
    }
}

impl Options {
    /// What is wrong goes to `errors`, and counts as not given. `here` is where generated
    /// code shows.
    pub(crate) fn parse(tokens: TokenStream, here: Span, errors: &mut Vec<Error>) -> Self {
        let parser = Punctuated::<Assignment, Token![,]>::parse_terminated;
        let assignments = parser.parse2(tokens).unwrap_or_else(|error| {
            errors.push(error);
            Punctuated::new()
        });
        let mut options = Self {
            offramp: parse_quote_spanned!(here=> ::offramp),
            evaluate: TokenStream::new(),
            methods: TokenStream::new(),
            expressions: Vec::new(),
            has_timeout: false,
        };
        let mut seen = Vec::new();
        let mut rest = Vec::new();
        for Assignment { name, value } in assignments {
            let Some((_, kind)) = KNOWN.into_iter().find(|(known, _)| name == known) else {
                let message = format!("no such option; the options are {}", known());
                errors.push(Error::new(name.span(), message));
                continue;
            };
            if seen.contains(&name) {
                errors.push(Error::new(name.span(), format!("`{name}` is given twice")));
                continue;
            }
            seen.push(name.clone());
            match kind {
                // The others' code needs it.
                Value::Crate => match path(value) {
                    Ok(path) => options.offramp = path,
                    Err(error) => errors.push(error),
                },
                _ => rest.push((name, value, kind)),
            }
        }
        for (name, value, kind) in rest {
            if let Err(error) = options.add(&name, value, kind) {
                errors.push(error);
            }
        }
        options
    }

    fn add(&mut self, name: &Ident, value: Expr, kind: Value) -> Result<()> {
        let offramp = &self.offramp;
        let argument = match kind {
            Value::Crate => return Ok(()),
            Value::Borrowed(of) => {
                let of = Ident::new(of, Span::mixed_site());
                let local = Ident::new(&name.to_string(), Span::mixed_site());
                // If a type is wrong it is the expression's.
                let at = value.span().resolved_at(Span::mixed_site());
                let evaluate = quote_spanned! {at=>
                    let #local = <#offramp::#of as ::core::clone::Clone>::clone(#value);
                };
                self.evaluate.extend(evaluate);
                self.expressions.push(value);
                quote!(&#local)
            }
            Value::Key => {
                let local = Ident::new(&name.to_string(), Span::mixed_site());
                let at = value.span().resolved_at(Span::mixed_site());
                let evaluate = quote_spanned! {at=>
                    let #local = #offramp::__private::tenant_key(&#value);
                };
                self.evaluate.extend(evaluate);
                self.expressions.push(value);
                self.methods.extend(quote!(.__tenant(#local)));
                return Ok(());
            }
            Value::Text => {
                let text = string(value, "\"load\"")?;
                quote!(#text)
            }
            Value::Time => {
                self.has_timeout = true;
                let nanos = duration::nanoseconds(&string(value, "\"2s\"")?)?;
                quote!(::core::time::Duration::from_nanos(#nanos))
            }
        };
        self.methods.extend(quote!(.#name(#argument)));
        Ok(())
    }
}

fn string(value: Expr, example: &str) -> Result<LitStr> {
    match value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => Ok(text),
        other => {
            let message = format!("expected a string literal, such as {example}");
            Err(Error::new_spanned(other, message))
        }
    }
}

fn path(value: Expr) -> Result<Path> {
    match value {
        Expr::Path(path) if path.qself.is_none() => Ok(path.path),
        other => {
            let message = "expected the path of a re-export, such as `my_crate::offramp`";
            Err(Error::new_spanned(other, message))
        }
    }
}
