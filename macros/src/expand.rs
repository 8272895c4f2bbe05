//! From the sync `fn` to the `async fn`.

use crate::borrows;
use crate::options::Options;
use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{
    AttrStyle, Attribute, Error, FnArg, Ident, Pat, PatIdent, PatType, Result, ReturnType,
    Signature, Token, Type, Visibility, braced, parse_quote,
};

/// `call` is the function of `offramp` that is named like the attribute.
pub(crate) fn expand(call: &str, options: TokenStream, item: TokenStream) -> TokenStream {
    let function = match syn::parse2::<Function>(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            let error = error.to_compile_error();
            return quote!(#error #item);
        }
    };
    let mut errors = Vec::new();
    let options = Options::parse(options, function.here(), &mut errors);
    function.refuse_kinds(call, &mut errors);
    borrows::refuse(&function.sig, &mut errors);
    if errors.is_empty() {
        return function.offloaded(call, &options);
    }
    let function = function.not_offloaded();
    let errors = errors.iter().map(Error::to_compile_error);
    quote!(#(#errors)* #function)
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
        let is_function = input.peek(Token![fn])
            || input.peek(Token![async])
            || input.peek(Token![const])
            || input.peek(Token![unsafe])
            || input.peek(Token![extern]);
        if !is_function {
            return Err(input.error("expected a `fn`; in an `impl` each method has its own"));
        }
        let sig: Signature = input.parse()?;
        if input.peek(Token![;]) {
            return Err(input.error("there is no body to offload"));
        }
        let content;
        // Not the user's: besides the function's own they would be unused.
        let braces = braced!(content in input).span.join();
        let braces = braces.resolved_at(Span::mixed_site());
        for mut attr in content.call(Attribute::parse_inner)? {
            attr.style = AttrStyle::Outer;
            attrs.push(attr);
        }
        let content: TokenStream = content.parse()?;
        let body = quote_spanned!(braces=> { #content });
        Ok(Self {
            attrs,
            vis,
            sig,
            body,
        })
    }
}

impl Function {
    /// Where generated code shows: what is wrong with the types as a whole is said there.
    fn here(&self) -> Span {
        self.sig.ident.span().resolved_at(Span::mixed_site())
    }

    /// The kinds of functions that cannot be offloaded.
    fn refuse_kinds(&self, call: &str, errors: &mut Vec<Error>) {
        let sig = &self.sig;
        let mut refuse = |at: &dyn ToTokens, message: &str| {
            errors.push(Error::new_spanned(at.to_token_stream(), message));
        };
        if let Some(at) = &sig.asyncness {
            let message = format!(
                "`#[{call}]` is for a sync `fn`: an `async fn` should await what blocks, \
                 and only that be offloaded"
            );
            refuse(at, &message);
        }
        if let Some(at) = &sig.constness {
            refuse(
                at,
                "a `const fn` can run at compile time, where there are no threads",
            );
        }
        if let Some(at) = &sig.unsafety {
            refuse(
                at,
                "an offloaded `unsafe fn` would still run when its caller, who vouches for it, \
                 has dropped the future: make it a safe `fn` with an `unsafe` block inside",
            );
        }
        if let Some(at) = &sig.abi {
            refuse(
                at,
                "an `extern fn` cannot be `async`: call it in a `fn` that can",
            );
        }
        if let Some(at) = &sig.variadic {
            refuse(at, "variadic arguments cannot go to another thread");
        }
        if let ReturnType::Type(_, output) = &sig.output {
            if let Type::Never(at) = &**output {
                refuse(
                    at,
                    "a function that never returns would keep a thread of the pool: \
                     use `offramp::offload_dedicated`",
                );
            }
        }
    }

    /// Something that its callers can await, beside the errors.
    fn not_offloaded(mut self) -> TokenStream {
        let sig = &mut self.sig;
        sig.asyncness = Some(Token![async](sig.fn_token.span));
        (sig.constness, sig.abi, sig.variadic) = (None, None, None);
        let Self {
            attrs,
            vis,
            sig,
            body,
        } = self;
        quote!(#(#attrs)* #vis #sig #body)
    }

    fn offloaded(self, call: &str, options: &Options) -> TokenStream {
        let here = self.here();
        let Self {
            attrs,
            vis,
            mut sig,
            body,
        } = self;
        let Options {
            offramp,
            evaluate,
            methods,
            ..
        } = options;

        let mut takes = TokenStream::new();
        for (index, input) in sig.inputs.iter_mut().enumerate() {
            takes.extend(take(index, input, options));
        }
        let output = match &sig.output {
            ReturnType::Default => quote!(()),
            ReturnType::Type(_, output) => {
                let mut output = output.clone();
                Unnamed.visit_type_mut(&mut output);
                output.into_token_stream()
            }
        };
        let (job, call) = (Ident::new("job", here), Ident::new(call, here));
        // In reports the call was made where this is, in the user's code.
        let submit = quote_spanned!(sig.ident.span()=> __offramp_submit);
        let submitted = quote_spanned!(sig.ident.span()=> #submit(#job));
        let returns = Ident::new("returns", here);
        let how = if options.has_timeout {
            // At the type that has to be another.
            let mut returns = returns.clone();
            if let ReturnType::Type(_, output) = &sig.output {
                returns.set_span(output.span().resolved_at(here));
            }
            quote_spanned!(here=> #offramp::__private::timed(#returns))
        } else {
            returns.to_token_stream()
        };
        let name = sig.ident.unraw().to_string();
        sig.asyncness = Some(Token![async](sig.fn_token.span));

        let body = quote_spanned! {here=>
            {
                let call = {
                    #evaluate
                    #[allow(clippy::disallowed_methods)]
                    let #job = move || -> #output {
                        #takes
                        #body
                    };
                    let #submit = #offramp::#call;
                    #submitted #methods
                };
                let #returns = #offramp::__private::Returns::of(&call).__offramp_how();
                #how.settle(
                    call.await,
                    ::core::concat!(::core::module_path!(), "::", #name),
                )
            }
        };
        quote!(#(#attrs)* #vis #sig #body)
    }
}

/// The statement by which the job takes an argument: whole, and used or not, so that it is
/// dropped where and when the sync function would.
fn take(index: usize, input: &mut FnArg, options: &Options) -> TokenStream {
    let (attrs, pat) = match input {
        FnArg::Receiver(receiver) => {
            let this = receiver.self_token;
            return quote!(let _ = &#this;);
        }
        FnArg::Typed(PatType { attrs, pat, .. }) => (attrs, pat),
    };
    let is_cfg = |attr: &Attribute| attr.path().is_ident("cfg") || attr.path().is_ident("cfg_attr");
    let lints: Vec<_> = attrs.iter().filter(|attr| !is_cfg(attr)).cloned().collect();
    attrs.retain(is_cfg);

    let inner = pat.clone();
    let (name, whole) = match &**pat {
        Pat::Ident(PatIdent {
            by_ref: None,
            subpat: None,
            ident,
            ..
        }) => (ident.clone(), None),
        _ => {
            let name = format_ident!("arg{index}", span = Span::mixed_site());
            // What the pattern leaves is taken, too.
            let whole = quote!(#(#attrs)* let #name = #name;);
            (name, Some(whole))
        }
    };
    **pat = parse_quote!(#name);
    // Used, though not by the body.
    let used = options
        .expressions
        .iter()
        .any(|expression| mentions(expression.to_token_stream(), &name))
        .then(|| quote!(#(#attrs)* let _ = &#name;));
    // Said of `_name`, which the user's body leaves alone.
    let unused = name.to_string().starts_with('_').then(|| {
        quote! {
            #[allow(clippy::no_effect_underscore_binding, clippy::used_underscore_binding)]
        }
    });
    quote! {
        #whole
        #(#attrs)* #(#lints)* #unused let #inner = #name;
        #used
    }
}

fn mentions(tokens: TokenStream, name: &Ident) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == *name,
        TokenTree::Group(group) => mentions(group.stream(), name),
        _ => false,
    })
}

/// Puts `_` in the place of each `impl Trait`, which a closure cannot say.
struct Unnamed;

impl VisitMut for Unnamed {
    fn visit_type_mut(&mut self, ty: &mut Type) {
        if matches!(ty, Type::ImplTrait(_)) {
            *ty = parse_quote!(_);
        } else {
            visit_mut::visit_type_mut(self, ty);
        }
    }
}
