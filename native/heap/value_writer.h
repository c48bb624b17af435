// Writes one value for a file of values, as structuredClone() would take it: a value that cannot be
// cloned, or could not be read back, is refused in words. V8's ValueSerializer does the work, with
// rules of our own.
#pragma once

#include <v8.h>

namespace stillframe {

// serializeValue(value, rules, limit), for lib/heap/value-codec.ts: { payload: ArrayBuffer, depth,
// hasArrayBuffers }, or a string that says why not, to stand behind "the value". What the value's
// own getters throw is thrown. Rules:
//   hasNoState(object): whether nothing of an object with a class would be left
//   typeOfView(view): its number in the file, or a string that says why not
//   bufferOf(view): asked for views whose number says that they share their buffer
void SerializeValue(const v8::FunctionCallbackInfo<v8::Value>& info);

// scriptOf(function): the name of the script that defines it.
void ScriptOf(const v8::FunctionCallbackInfo<v8::Value>& info);

}  // namespace stillframe
