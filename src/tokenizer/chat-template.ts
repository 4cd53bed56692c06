// The chat template that is shipped with every model: the inference format of Apertus, as a Jinja program.
//
// Written from the published rules of the format and checked against renderings of the published template. Where that
// one leaks white space into nested tool types, this one writes the same characters on purpose.
//
// Does not: render; chat-format.ts does. Kept in a module so that the compiled package carries it.

/** Content of chat_template.jinja, for engines with trim_blocks and lstrip_blocks. */
export const chatTemplate = String.raw`{#- Conversation format of Apertus: <s>, system, developer, then turns. -#}

{#- A JSON schema as a TypeScript type. -#}
{%- macro type_of(schema) -%}
    {%- set kind = schema.type -%}
    {%- set nullable = " | null" if schema.nullable else "" -%}
    {%- if kind == "array" -%}
        {%- set inner = "any" -%}
        {%- if schema["items"] -%}
            {%- set element = schema["items"].type if schema["items"].type is string else "" -%}
            {%- if element in ["string", "number", "integer", "boolean"] -%}
                {%- set inner = name_of(element) -%}
            {%- else -%}
                {%- set nested = type_of(schema["items"]) -%}
                {#- Long element types are not spelled out, nor is this one. An engine may count otherwise than Python. -#}
                {%- set size = length_of(nested) if length_of is defined else nested | length -%}
                {%- if size <= 50 and nested != "object | object" -%}
                    {%- set inner = nested -%}
                {%- endif -%}
            {%- endif -%}
        {%- endif -%}
        {{- inner + "[]" + nullable -}}
    {%- elif kind and kind is iterable and kind is not string and kind is not mapping -%}
        {%- for each in kind -%}
            {{- as_text(each) + ("" if loop.last else " | ") -}}
        {%- endfor -%}
    {%- elif schema.oneOf -%}
        {%- for variant in schema.oneOf -%}
            {{- type_of(variant) -}}
            {%- if variant.description -%}
                {{- "// " + variant.description -}}
            {%- endif -%}
            {%- if variant.default is defined -%}
                {{- "                    // default: " + variant.default | tojson -}}
            {%- endif -%}
            {%- if not loop.last -%}
                {{- " | \n" -}}
            {%- endif -%}
        {%- endfor -%}
    {%- elif kind == "string" and schema.enum -%}
        {%- for value in schema.enum -%}
            {{- '"' + as_text(value) + ('"' if loop.last else '" | ') -}}
        {%- endfor -%}
    {%- elif kind == "object" and schema.properties -%}
        {{- "{\n" -}}
        {%- for name, property in schema.properties | items -%}
            {{- name + ("" if name in (schema.required or []) else "?") -}}
            {{- ": \n                " + type_of(property) -}}
            {%- if not loop.last -%}
                {{- ", " -}}
            {%- endif -%}
        {%- endfor -%}
        {{- "}" -}}
    {%- elif kind == "string" -%}
        {{- "string" + nullable -}}
    {%- else -%}
        {{- name_of(kind) -}}
    {%- endif -%}
{%- endmacro -%}

{#- A value as Python writes it in a text, in engines that are none, too. -#}
{%- macro as_text(value) -%}
    {%- if value is string -%}
        {{- value -}}
    {%- elif value is none -%}
        {{- "None" -}}
    {%- elif value is boolean -%}
        {{- "True" if value else "False" -}}
    {%- else -%}
        {{- value | tojson -}}
    {%- endif -%}
{%- endmacro -%}

{%- macro name_of(kind) -%}
    {%- if kind is not string -%}
        {{- "any" -}}
    {%- elif kind in ["number", "integer"] -%}
        {{- "number" -}}
    {%- elif kind in ["string", "boolean", "object"] -%}
        {{- kind -}}
    {%- else -%}
        {{- "any" -}}
    {%- endif -%}
{%- endmacro -%}

{#- Tools as declarations of TypeScript functions, one after the other. -#}
{%- macro declare(tools) -%}
    {%- for entry in tools -%}
        {%- set tool = entry.function if entry.function else entry -%}
        {{- "// " + tool.description + "\n" -}}
        {{- "type " + tool.name + " = " -}}
        {%- if tool.parameters and tool.parameters.properties -%}
            {{- "(_: {\n" -}}
            {%- for name, parameter in tool.parameters.properties | items -%}
                {%- if parameter.description -%}
                    {{- "// " + parameter.description + "\n" -}}
                {%- endif -%}
                {{- name + ("" if name in (tool.parameters.required or []) else "?") + ": " + type_of(parameter) -}}
                {%- if parameter.default is defined -%}
                    {%- set chosen = parameter.enum or parameter.oneOf -%}
                    {{- "// default: " if parameter.oneOf and not parameter.enum else ", // default: " -}}
                    {#- Texts among alternatives have no quotes. -#}
                    {{- parameter.default if chosen and parameter.default is string else parameter.default | tojson -}}
                {%- endif -%}
                {{- "\n" if loop.last else ",\n" -}}
            {%- endfor -%}
            {{- "}) => any;" -}}
        {%- else -%}
            {{- "() => any;" -}}
        {%- endif -%}
        {%- if not loop.last -%}
            {{- "\n" -}}
        {%- endif -%}
    {%- endfor -%}
{%- endmacro -%}

{{- "<s>" -}}
{{- "<|system_start|>" -}}
{%- if messages and messages[0].role == "system" -%}
    {%- if messages[0].content is string -%}
        {{- messages[0].content -}}
    {%- elif messages[0].content is mapping and "text" in messages[0].content -%}
        {{- messages[0].content.text -}}
    {%- else -%}
        {{- raise_exception("Invalid system message") -}}
    {%- endif -%}
    {%- set turns = messages[1:] -%}
{%- else -%}
    {{- "You are Apertus, a helpful assistant created by the SwissAI initiative.\n" -}}
    {{- "Knowledge cutoff: 2024-04\n" -}}
    {{- "Current date: " + strftime_now("%Y-%m-%d") -}}
    {%- set turns = messages -%}
{%- endif -%}
{{- "<|system_end|>" -}}

{{- "<|developer_start|>" -}}
{{- "Deliberation: " + ("enabled" if enable_thinking is defined and enable_thinking else "disabled") + "\n" -}}
{%- if tools is defined and tools -%}
    {{- "Tool Capabilities:\n" + declare(tools) -}}
{%- else -%}
    {{- "Tool Capabilities: disabled" -}}
{%- endif -%}
{{- "<|developer_end|>" -}}

{#- open: an assistant turn has begun; inner: its thoughts have; outputs: tool messages are being listed. -#}
{%- set state = namespace(open=false, inner=false, outputs=false, kind="") -%}
{%- for message in turns -%}
    {#- A list of outputs ends where something else is written. -#}
    {%- if state.outputs and message.role != "tool" and (message.role == "user" or message.content is not mapping) -%}
        {{- "]" -}}
        {%- set state.outputs = false -%}
    {%- endif -%}
    {%- if message.role == "user" -%}
        {%- if state.open -%}
            {{- "<|assistant_end|>" -}}
            {%- set state.open = false -%}
            {%- set state.inner = false -%}
        {%- endif -%}
        {{- "<|user_start|>" -}}
        {%- if message.content is string -%}
            {{- message.content -}}
        {%- elif message.content is mapping and "parts" in message.content -%}
            {%- for part in message.content.parts -%}
                {{- part.text if part.type == "text" else raise_exception("Invalid user part") -}}
            {%- endfor -%}
        {%- else -%}
            {{- raise_exception("Invalid user message") -}}
        {%- endif -%}
        {{- "<|user_end|>" -}}
    {%- elif message.role == "assistant" -%}
        {%- if not state.open -%}
            {{- "<|assistant_start|>" -}}
            {%- set state.open = true -%}
        {%- endif -%}
        {%- if message.content is mapping and "blocks" in message.content -%}
            {%- set kind = "blocks" -%}
        {%- elif message.content is string or (message.content is none and message.tool_calls) -%}
            {%- set kind = "string" -%}
        {%- else -%}
            {{- raise_exception("Invalid assistant content") -}}
        {%- endif -%}
        {%- if state.kind and state.kind != kind -%}
            {{- raise_exception("Invalid assistant content") -}}
        {%- endif -%}
        {%- set state.kind = kind -%}
        {%- if kind == "blocks" -%}
            {%- for block in message.content.blocks -%}
                {%- if state.outputs -%}
                    {{- raise_exception("Tool outputs both as messages and as blocks") if block.type == "tool_outputs" else "]" -}}
                    {%- set state.outputs = false -%}
                {%- endif -%}
                {%- if block.type == "thoughts" -%}
                    {%- if not state.inner -%}
                        {{- "<|inner_prefix|>" -}}
                        {%- set state.inner = true -%}
                    {%- endif -%}
                    {{- block.text -}}
                {%- elif block.type == "tool_calls" -%}
                    {%- if state.inner and not loop.first and block.calls | length == 1 and block.calls[0].name == "display_answers" -%}
                        {{- "<|inner_suffix|>" -}}
                        {%- set state.inner = false -%}
                    {%- endif -%}
                    {{- "<|tools_prefix|>[" -}}
                    {%- for call in block.calls -%}
                        {{- '{"' + call.name + '": ' + call.arguments + "}" -}}
                        {{- "" if loop.last else ", " -}}
                    {%- endfor -%}
                    {{- "]<|tools_suffix|>" -}}
                {%- elif block.type == "tool_outputs" -%}
                    {{- "[" -}}
                    {%- for output in block.outputs -%}
                        {{- output.output + ("" if loop.last else ", ") -}}
                    {%- endfor -%}
                    {{- "]" -}}
                {%- elif block.type == "response" -%}
                    {%- if state.inner -%}
                        {{- "<|inner_suffix|>" -}}
                        {%- set state.inner = false -%}
                    {%- endif -%}
                    {{- block.text -}}
                {%- else -%}
                    {{- raise_exception("Invalid assistant block") -}}
                {%- endif -%}
            {%- endfor -%}
        {%- else -%}
            {{- message.content if message.content is string else "" -}}
        {%- endif -%}
        {%- if message.tool_calls -%}
            {{- "<|tools_prefix|>[" -}}
            {%- for call in message.tool_calls -%}
                {%- if call.type is defined and call.type != "function" -%}
                    {{- raise_exception("Invalid tool call type") -}}
                {%- endif -%}
                {{- '{"' + call.function.name + '": ' + call.function.arguments + "}" -}}
                {{- "" if loop.last else ", " -}}
            {%- endfor -%}
            {{- "]<|tools_suffix|>" -}}
        {%- endif -%}
    {%- elif message.role == "tool" -%}
        {%- if not state.open -%}
            {{- raise_exception("Tool message outside of assistant") -}}
        {%- endif -%}
        {{- ", " if state.outputs else "[" -}}
        {%- set state.outputs = true -%}
        {{- message.content -}}
    {%- else -%}
        {{- raise_exception("Invalid message role") -}}
    {%- endif -%}
{%- endfor -%}
{%- if state.outputs -%}
    {{- "]" -}}
{%- endif -%}
{%- if add_generation_prompt is defined and add_generation_prompt -%}
    {{- "<|assistant_start|>" -}}
{%- endif -%}
`;
