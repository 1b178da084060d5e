//! Expressions of workflows, as far as ours use them: contexts, texts, comparison, `&&`, `||`, `!` and status functions.
//!
//! Anything else fails the test, so that the emulation never gives an answer that the real runner would not.

/// Where the names in an expression get their values from.
pub(super) trait Context {
    /// The value of a path such as `steps.build.outputs.key`; `None` stands for null.
    fn lookup(&self, path: &[&str]) -> Option<String>;
    /// Whether no step before has failed.
    fn is_success(&self) -> bool;
}

/// A value; numbers are not needed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Null,
    Bool(bool),
    Text(String),
}

impl Value {
    fn is_true(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(value) => *value,
            Self::Text(text) => !text.is_empty(),
        }
    }

    fn into_text(self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Bool(value) => value.to_string(),
            Self::Text(text) => text,
        }
    }
}

/// Replaces every `${{ … }}` in `text` by its value.
pub(super) fn interpolate(text: &str, context: &dyn Context) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${{") {
        let (expression, after) = after.split_once("}}").unwrap_or_else(|| panic!("no `}}}}` in `{text}`"));
        result.push_str(before);
        result.push_str(&evaluate(expression, context).into_text());
        rest = after;
    }
    result + rest
}

/// Whether a step with this `if:` runs. A condition that asks for no status runs after success only.
pub(super) fn condition(text: &str, context: &dyn Context) -> bool {
    let text = text.trim();
    let expression = text.strip_prefix("${{").and_then(|text| text.strip_suffix("}}")).unwrap_or(text);
    let asks = ["success()", "always()", "failure()", "cancelled()"].iter().any(|name| expression.contains(name));
    (asks || context.is_success()) && evaluate(expression, context).is_true()
}

fn evaluate(expression: &str, context: &dyn Context) -> Value {
    let mut parser = Parser { rest: expression, context };
    let value = parser.any();
    assert!(parser.rest.trim().is_empty(), "`{}` is left of `{expression}`", parser.rest);
    value
}

struct Parser<'a> {
    rest: &'a str,
    context: &'a dyn Context,
}

impl Parser<'_> {
    fn eat(&mut self, token: &str) -> bool {
        match self.rest.trim_start().strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn any(&mut self) -> Value {
        let mut value = self.all();
        while self.eat("||") {
            let other = self.all();
            value = if value.is_true() { value } else { other };
        }
        value
    }

    fn all(&mut self) -> Value {
        let mut value = self.comparison();
        while self.eat("&&") {
            let other = self.comparison();
            value = if value.is_true() { other } else { value };
        }
        value
    }

    fn comparison(&mut self) -> Value {
        let value = self.one();
        let is_equal = |other: Value| value.clone().into_text().eq_ignore_ascii_case(&other.into_text());
        if self.eat("==") {
            Value::Bool(is_equal(self.one()))
        } else if self.eat("!=") {
            Value::Bool(!is_equal(self.one()))
        } else {
            value
        }
    }

    fn one(&mut self) -> Value {
        if self.eat("!") {
            Value::Bool(!self.one().is_true())
        } else if self.eat("(") {
            let value = self.any();
            assert!(self.eat(")"), "`)` is missing before `{}`", self.rest);
            value
        } else if self.eat("'") {
            let (text, rest) = self.rest.split_once('\'').expect("a text has an end");
            assert!(!rest.starts_with('\''), "quotes in texts are not supported");
            self.rest = rest;
            Value::Text(text.to_owned())
        } else {
            self.name()
        }
    }

    fn name(&mut self) -> Value {
        let text = self.rest.trim_start();
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let (name, rest) = text.split_at(text.find(|c| !is_part(c)).unwrap_or(text.len()));
        self.rest = rest;
        if self.eat("(") {
            assert!(self.eat(")"), "arguments of `{name}` are not supported");
            return Value::Bool(match name {
                "always" => true,
                "success" => self.context.is_success(),
                "failure" => !self.context.is_success(),
                "cancelled" => false,
                name => panic!("function `{name}` is not supported"),
            });
        }
        match name {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            name => {
                let path: Vec<&str> = name.split('.').collect();
                assert!(path.len() > 1 && !path.contains(&""), "`{text}` is not supported");
                self.context.lookup(&path).map_or(Value::Null, Value::Text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(bool);

    impl Context for Fixed {
        fn lookup(&self, path: &[&str]) -> Option<String> {
            match path {
                ["inputs", "dry-run"] => Some("false".to_owned()),
                ["inputs", "blank"] => Some(String::new()),
                ["env", "X"] => Some("x".to_owned()),
                _ => None,
            }
        }

        fn is_success(&self) -> bool {
            self.0
        }
    }

    #[test]
    fn expressions_have_the_values_that_the_runner_gives_them() {
        let check = |text: &str, expected: &str| assert_eq!(interpolate(text, &Fixed(true)), expected, "{text}");
        check("plain", "plain");
        check("a-${{ env.X }}-${{ env.Y }}.", "a-x-.");
        check("${{ inputs.blank || env.X }}", "x");
        check("${{ inputs.dry-run || env.X }}", "false");
        check("${{ env.Y && 'a' || 'b' }}", "b");
        check("${{ env.X == 'X' && !env.Y }}", "true");
        check("${{ env.X != 'x' || (inputs.blank == '') }}", "true");
    }

    #[test]
    fn steps_run_after_success_unless_they_say_otherwise() {
        let check = |text, after_success, after_failure| {
            assert_eq!(condition(text, &Fixed(true)), after_success, "{text}");
            assert_eq!(condition(text, &Fixed(false)), after_failure, "{text}");
        };
        check("env.X == 'x'", true, false);
        check("${{ always() && env.X }}", true, true);
        check("failure()", false, true);
        check("env.Y", false, false);
    }
}
