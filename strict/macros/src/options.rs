//! What stands in the attribute's parentheses.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{
    Error, Expr, ExprLit, Ident, Lit, LitInt, LitStr, Path, Result, Token, parse_quote_spanned,
};

const KNOWN: &str = "the options are `budget`, `crate`, `flavor`, `options`, `worker_threads`";

/// The name, the variant of `Flavor`, and the feature that it takes.
const FLAVORS: [(&str, &str, Option<&str>); 4] = [
    ("current_thread", "CurrentThread", Some("tokio")),
    ("multi_thread", "MultiThread", Some("tokio")),
    ("smol", "Smol", Some("smol")),
    ("plain", "Plain", None),
];

fn is_on(feature: &str) -> bool {
    let on = [
        ("tokio", cfg!(feature = "tokio")),
        ("smol", cfg!(feature = "smol")),
    ];
    on.contains(&(feature, true))
}

/// The options of one attribute.
pub(crate) struct Options {
    /// An expression: an `Options` of `offramp_strict`.
    pub(crate) value: TokenStream,
}

struct Assignment {
    name: Ident,
    value: Expr,
}

impl Parse for Assignment {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if !input.peek(Ident::peek_any) {
            return Err(input.error(format!("expected `option = value`; {KNOWN}")));
        }
        let name = input.call(Ident::parse_any)?;
        if !input.peek(Token![=]) {
            let message = format!("expected `{name} = value`; {KNOWN}");
            return Err(Error::new(name.span(), message));
        }
        input.parse::<Token![=]>()?;
        let value = input.parse()?;
        Ok(Self { name, value })
    }
}

/// Each option by its place, as far as it is given.
#[derive(Default)]
struct Given {
    path: Option<Path>,
    options: Option<Expr>,
    flavor: Option<LitStr>,
    workers: Option<LitInt>,
    budget: Option<Expr>,
}

impl Given {
    fn take(&mut self, Assignment { name, value }: Assignment) -> Result<()> {
        let known = name.to_string();
        let twice = match known.as_str() {
            "budget" => self.budget.replace(value).is_some(),
            "crate" => self.path.replace(path(value)?).is_some(),
            "flavor" => self.flavor.replace(text(value)?).is_some(),
            "options" => self.options.replace(value).is_some(),
            "worker_threads" => self.workers.replace(number(value)?).is_some(),
            _ => {
                let message = format!("there is no option `{name}`; {KNOWN}");
                return Err(Error::new(name.span(), message));
            }
        };
        if twice {
            return Err(Error::new(name.span(), format!("`{name}` is given twice")));
        }
        Ok(())
    }

    /// The variant of `Flavor`. Without one that is wrong is `test`.
    fn flavor(&self, here: Span, path: &Path, test: Span) -> Result<TokenStream> {
        let (name, span) = match &self.flavor {
            Some(name) => (name.value(), name.span()),
            None => ("current_thread".to_owned(), test),
        };
        let Some((_, variant, feature)) = FLAVORS.iter().find(|flavor| flavor.0 == name) else {
            let known = FLAVORS.map(|flavor| format!("`{:?}`", flavor.0));
            let known = known.join(", ");
            let message = format!("there is no flavor `{name:?}`; the flavors are {known}");
            return Err(Error::new(span, message));
        };
        if let Some(feature) = feature.filter(|feature| !is_on(feature)) {
            let message = format!(
                "the flavor `{name:?}` takes the feature `{feature}` of `offramp-strict`, \
                 which is off; without a runtime it is `flavor = \"plain\"`"
            );
            return Err(Error::new(span, message));
        }
        let variant = Ident::new(variant, here);
        let flavor = quote_spanned!(here=> #path::Flavor::#variant);
        if name == "multi_thread" {
            let workers = match &self.workers {
                Some(workers) => quote!(::core::option::Option::Some(#workers)),
                None => quote!(::core::option::Option::None),
            };
            return Ok(quote_spanned!(here=> #flavor { workers: #workers }));
        }
        if let Some(workers) = &self.workers {
            let message = "`worker_threads` goes with `flavor = \"multi_thread\"`";
            return Err(Error::new(workers.span(), message));
        }
        Ok(flavor)
    }
}

impl Options {
    /// `here` is where generated code shows, `test` the name of the function.
    pub(crate) fn parse(tokens: TokenStream, here: Span, test: Span) -> Result<Self> {
        let parser = Punctuated::<Assignment, Token![,]>::parse_terminated;
        let mut given = Given::default();
        for assignment in parser.parse2(tokens)? {
            given.take(assignment)?;
        }
        let path = given.path.clone();
        let path = path.unwrap_or_else(|| parse_quote_spanned!(here=> ::offramp_strict));
        let mut value = match &given.options {
            Some(options) => quote!(#options),
            None => quote_spanned!(here=> #path::Options::new()),
        };
        // Options bring a flavor of their own.
        let own = given.flavor.is_none() && given.workers.is_none() && given.options.is_some();
        if !own {
            let flavor = given.flavor(here, &path, test)?;
            value = quote_spanned!(here=> #path::Options::flavor(#value, #flavor));
        }
        if let Some(budget) = &given.budget {
            value = quote_spanned!(here=> #path::Options::budget(#value, #budget));
        }
        Ok(Self { value })
    }
}

fn path(value: Expr) -> Result<Path> {
    match value {
        Expr::Path(path) if path.qself.is_none() => Ok(path.path),
        other => Err(Error::new_spanned(other, "expected a path, without quotes")),
    }
}

fn text(value: Expr) -> Result<LitStr> {
    match value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => Ok(text),
        other => Err(Error::new_spanned(other, "expected a string")),
    }
}

fn number(value: Expr) -> Result<LitInt> {
    match value {
        Expr::Lit(ExprLit {
            lit: Lit::Int(number),
            ..
        }) if number.base10_parse::<usize>().is_ok_and(|n| n > 0) => Ok(number),
        other => Err(Error::new_spanned(other, "expected a number above zero")),
    }
}
