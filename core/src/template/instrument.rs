//! Compiles a template and puts the meter into its instructions.
//!
//! minijinja counts instructions but not what one of them costs, and offers no hook on operators. Its machinery
//! feature gives access to the compiled program, so each costly instruction is replaced by a jump to a sequence
//! behind the program's end: guard, the instruction itself, a check of the result, and a jump back. The feature is
//! not covered by minijinja's version promise, hence the exact version in Cargo.toml.

use minijinja::machinery::{CompiledTemplate, Instruction, TemplateConfig, Token, eval, make_string_output, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error};
use std::sync::Arc;

use super::TemplateError;
use super::builtins::{CHECK_STORED, GUARD_ADD, GUARD_BOTH, GUARD_GLANCE, GUARD_ITER, GUARD_MUL, ONE, SETTLE, SLICE};

/// Tokens of one `{{ }}` or `{% %}`: the compiler recurses along an expression, however flat it is written.
const MAX_TOKENS_PER_TAG: usize = 512;
/// `elif` branches in a template: each is compiled inside the one before.
const MAX_ELIF: usize = 64;

const NAME: &str = "chat_template";

fn syntax() -> SyntaxConfig {
    SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .expect("default delimiters are valid")
}

/// Source that is safe to compile: checks its shape, removes Hugging Face's `{% generation %}` markers (they only
/// mark training text), and keeps the compiler from evaluating `'a' * 100000000` itself by writing `'a' * one * …`.
pub fn prepare(source: &str) -> Result<String, TemplateError> {
    let mut prepared = String::with_capacity(source.len() + 64);
    let mut copied = 0;
    let (mut in_tag, mut elifs) = (0, 0);
    let mut tag_opened = false;
    for token in tokenize(source, false, syntax()) {
        let (token, span) = token.map_err(|error| syntax_error(&error))?;
        let (start, end) = (span.start_offset as usize, span.end_offset as usize);
        let was_opened = std::mem::take(&mut tag_opened);
        in_tag += 1;
        match token {
            Token::VariableStart | Token::TemplateData(_) => in_tag = 0,
            Token::BlockStart => {
                in_tag = 0;
                tag_opened = true;
            }
            Token::Mul => {
                prepared.push_str(&source[copied..end]);
                prepared.push_str(ONE);
                prepared.push('*');
                copied = end;
            }
            Token::Ident(name @ ("generation" | "endgeneration")) if was_opened => {
                prepared.push_str(&source[copied..start]);
                prepared.push_str(if name == "generation" { "if true" } else { "endif" });
                copied = end;
            }
            Token::Ident("elif") if was_opened => elifs += 1,
            Token::Str(_) | Token::String(_) => {
                prepared.push_str(&source[copied..start]);
                push_joined(&mut prepared, &source[start..end]);
                copied = end;
            }
            _ => {}
        }
        if in_tag > MAX_TOKENS_PER_TAG || elifs > MAX_ELIF {
            let what = format!(
                "an expression or condition of excessive length at line {}",
                span.start_line
            );
            return Err(TemplateError::Unsupported { what });
        }
    }
    prepared.push_str(&source[copied..]);
    Ok(prepared)
}

/// Appends a string literal without its line continuations (a backslash at the end of a line), which Python and so
/// Jinja2 drop and minijinja keeps. Mistral's templates are full of them.
fn push_joined(out: &mut String, literal: &str) {
    let mut chars = literal.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some('\n' | '\r')) => {
                if chars.next() == Some('\r') {
                    chars.next_if_eq(&'\n');
                }
            }
            ('\\', Some(_)) => {
                out.push(c);
                out.extend(chars.next());
            }
            _ => out.push(c),
        }
    }
}

/// Compiles prepared source, with the meter in it.
pub fn compile(prepared: &str) -> Result<CompiledTemplate<'_>, TemplateError> {
    let config = TemplateConfig {
        syntax_config: syntax(),
        default_auto_escape: Arc::new(|_: &str| AutoEscape::None),
    };
    let mut program = CompiledTemplate::new(NAME, prepared, &config).map_err(|error| syntax_error(&error))?;
    let code = &mut program.instructions;
    let mut index = 0;
    let mut detours = Vec::new();
    while let Some(instruction) = code.get(index) {
        if let Some(detour) = detour(instruction)? {
            detours.push((index, detour));
        }
        index += 1;
    }
    if !detours.is_empty() {
        // The program ends where its instructions end; what follows is reached by jumps only.
        code.add(Instruction::Return);
    }
    for (index, detour) in detours {
        let mut entry = None;
        for instruction in detour {
            let at = code.add(instruction);
            entry.get_or_insert(at);
        }
        code.add(Instruction::Jump(index + 1));
        if let (Some(entry), Some(place)) = (entry, code.get_mut(index)) {
            *place = Instruction::Jump(entry);
        }
    }
    Ok(program)
}

/// What runs in place of `instruction`, or `None` where fuel alone bounds it.
fn detour<'a>(instruction: &Instruction<'a>) -> Result<Option<Vec<Instruction<'a>>>, TemplateError> {
    use Instruction as I;
    let unsupported = |what: &str| Err(TemplateError::Unsupported { what: what.into() });
    Ok(Some(match instruction {
        I::Add => guarded(GUARD_ADD, 2, instruction),
        I::Mul => guarded(GUARD_MUL, 2, instruction),
        I::StringConcat | I::In | I::Eq | I::Ne | I::Gt | I::Gte | I::Lt | I::Lte => {
            guarded(GUARD_BOTH, 2, instruction)
        }
        I::GetItem => guarded(GUARD_GLANCE, 2, instruction),
        I::Slice => vec![I::CallFunction(SLICE, Some(4))],
        I::BuildList(_) | I::BuildTuple(_) | I::BuildMap(_) | I::BuildKwargs(_) => {
            vec![instruction.clone(), call(SETTLE)]
        }
        I::PushLoop(_) => vec![call(GUARD_ITER), instruction.clone()],
        I::SetAttr(_) => vec![I::Swap, call(CHECK_STORED), I::Swap, instruction.clone()],
        // Through the formatter, which charges for it: inside a capture no writer of ours sees it.
        I::EmitRaw(text) => vec![I::LoadConst(Value::from(*text)), I::Emit],
        I::UnpackLists(_) | I::MergeKwargs(_) => {
            return unsupported("argument unpacking (* or **)");
        }
        I::CompareAndPreserve(_) => return unsupported("a chained comparison (a < b < c)"),
        I::Include(_) | I::LoadBlocks | I::CallBlock(_) | I::ExportLocals | I::FastSuper => {
            return unsupported("other templates (include, import, extends, block)");
        }
        I::PushAutoEscape => return unsupported("autoescape"),
        _ => return Ok(None),
    }))
}

fn call<'a>(name: &'static str) -> Instruction<'a> {
    Instruction::CallFunction(name, Some(1))
}

/// The top `operands` values go to `guard` as one tuple and come back in reverse, the order that unpacking expects.
fn guarded<'a>(guard: &'static str, operands: usize, instruction: &Instruction<'a>) -> Vec<Instruction<'a>> {
    vec![
        Instruction::BuildTuple(Some(operands)),
        call(guard),
        Instruction::UnpackList(operands),
        instruction.clone(),
        call(SETTLE),
    ]
}

/// Runs a compiled program.
pub fn run(env: &Environment<'_>, program: &CompiledTemplate<'_>, context: Value) -> Result<String, Error> {
    let mut text = String::new();
    let mut output = make_string_output(&mut text);
    eval(
        env,
        &program.instructions,
        context,
        &program.blocks,
        &mut output,
        AutoEscape::None,
    )?;
    Ok(text)
}

fn syntax_error(error: &Error) -> TemplateError {
    TemplateError::Syntax {
        line: error.line().unwrap_or(0),
        message: super::describe(error),
    }
}
