//! The macro that turns one list of options into the struct, its setters and the table behind the
//! parser and the documentation, so that the four can never disagree.

use super::Config;
use super::value::Rejected;

/// What the parser, the printer and the documentation know of one option.
pub(crate) struct OptionSpec {
    /// Dotted name, e.g. `commit.interval.ms`.
    pub(crate) name: &'static str,
    /// The default as the documentation shows it.
    pub(crate) shown: &'static str,
    /// What it means; the field's own documentation.
    pub(crate) meaning: &'static str,
    /// The form of its value.
    pub(crate) kind: &'static str,
    /// The value as text; `None` where it is not set.
    pub(crate) read: fn(&Config) -> Option<String>,
    /// Sets the field from text.
    pub(crate) write: fn(&mut Config, &str) -> Result<(), Rejected>,
}

/// Defines `Config`, its defaults, its setters, the `key` constants and `OPTIONS`.
macro_rules! options {
    ($(
        $(#[doc = $doc:literal])+
        $name:literal => $field:ident: $ty:ty = $default:expr, shown $shown:literal;
        $setter:ident($value:ident: $arg:ty) $convert:block
    )+) => {
        /// Everything that can be set. Make one with [`Config::new`], change it with the `with_*`
        /// setters, a TOML file or environment variables, check it with [`Config::validate`].
        ///
        /// `Debug` never shows the value of a secret.
        #[derive(Clone, PartialEq)]
        pub struct Config {
            $(
                $(#[doc = $doc])+
                #[doc = concat!("\n\nOption `", $name, "`. Default: ", $shown, ".")]
                pub $field: $ty,
            )+
            /// Options handed to librdkafka: see [`ClientOptions`]. Default: none.
            pub client_options: ClientOptions,
            /// Settings of the internal topics that Tidemill creates, by their broker name
            /// (`segment.bytes`); option `topic.<setting>`. Default: none.
            pub topic_options: BTreeMap<String, String>,
            /// What went wrong while reading files and environment; reported by `validate`.
            problems: Vec<Violation>,
            /// What `warnings` repeats from reading files.
            notes: Vec<String>,
        }

        impl Config {
            /// Every option at its default; the two required ones empty.
            fn unset() -> Self {
                Self {
                    $($field: $default,)+
                    client_options: ClientOptions::default(),
                    topic_options: BTreeMap::new(),
                    problems: Vec::new(),
                    notes: Vec::new(),
                }
            }

            $(
                #[doc = concat!("Sets the field `", stringify!($field), "`.")]
                #[must_use]
                pub fn $setter(mut self, $value: $arg) -> Self {
                    self.$field = $convert;
                    self
                }
            )+
        }

        /// Every option, in the order of the documentation.
        pub(crate) static OPTIONS: &[OptionSpec] = &[
            $(OptionSpec {
                name: $name,
                shown: $shown,
                meaning: concat!($($doc, "\n"),+),
                kind: <$ty as OptionValue>::KIND,
                read: |config| config.$field.print(),
                write: |config, text| {
                    config.$field = OptionValue::parse(text)?;
                    Ok(())
                },
            },)+
        ];

        /// The option names, by field, for rules that have to name one.
        #[expect(
            non_upper_case_globals,
            dead_code,
            reason = "each constant is spelt like its field; not every option has a rule"
        )]
        pub(crate) mod key {
            $(pub(crate) const $field: &str = $name;)+
        }
    };
}
pub(crate) use options;
