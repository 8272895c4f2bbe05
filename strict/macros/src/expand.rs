//! From the `async fn` to the test.

use crate::options::Options;
use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;
use syn::parse::{Parse, ParseStream};
use syn::{AttrStyle, Attribute, Error, Result, Signature, Token, Visibility, braced};

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let made = syn::parse2::<Function>(item.clone()).and_then(|test| {
        let options = Options::parse(options, test.here(), test.sig.ident.span())?;
        Ok(test.strict(&options))
    });
    match made {
        Ok(test) => test,
        // The function stays: what uses it is not wrong besides.
        Err(error) => {
            let mut error = error.into_compile_error();
            error.extend(item);
            error
        }
    }
}

/// A `fn` whose body is for the compiler to read.
struct Function {
    attrs: Vec<Attribute>,
    vis: Visibility,
    sig: Signature,
    body: TokenStream,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        if !starts_function(input) {
            return Err(input.error("expected an `async fn`"));
        }
        let sig: Signature = input.parse()?;
        if sig.asyncness.is_none() {
            let message = "a strict test is an `async fn`: what is not polled may block";
            return Err(Error::new_spanned(sig.fn_token, message));
        }
        if let Some(test) = attrs.iter().find(|attr| attr.path().is_ident("test")) {
            let message = "`#[offramp_strict::test]` is a `#[test]`: twice it would run twice";
            return Err(Error::new_spanned(test, message));
        }
        if input.peek(Token![;]) {
            return Err(input.error("there is no body to test"));
        }
        let content;
        braced!(content in input);
        for mut attr in content.call(Attribute::parse_inner)? {
            attr.style = AttrStyle::Outer;
            attrs.push(attr);
        }
        let body = content.parse()?;
        Ok(Self {
            attrs,
            vis,
            sig,
            body,
        })
    }
}

fn starts_function(input: ParseStream<'_>) -> bool {
    input.peek(Token![async])
        || input.peek(Token![fn])
        || input.peek(Token![const])
        || input.peek(Token![unsafe])
        || input.peek(Token![extern])
}

impl Function {
    /// Where generated code shows.
    fn here(&self) -> Span {
        self.sig.ident.span().resolved_at(Span::mixed_site())
    }

    fn strict(self, options: &Options) -> TokenStream {
        let here = self.here();
        let Self {
            attrs,
            vis,
            mut sig,
            body,
        } = self;
        sig.asyncness = None;
        let options = &options.value;
        quote_spanned! {here=>
            #(#attrs)*
            #[::core::prelude::v1::test]
            #vis #sig {
                let options = #options;
                options.run(async move { #body })
            }
        }
    }
}
