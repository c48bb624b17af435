// Writes one value for a file of values, as structuredClone() would take it: a value that cannot be
// cloned, or could not be read back, is refused with a reason. It uses V8's ValueSerializer, with
// rules of our own.
#pragma once

#include <v8.h>

namespace stillframe {

// serializeValue(value, rules, limit), for lib/heap/value-codec.ts. Returns { payload: ArrayBuffer,
// depth, hasArrayBuffers }, or a string that says why not, as the rest of a sentence that begins
// with "the value". Throws what the value's own getters throw. Rules:
//   hasNoState(object): true if nothing of an object that has a class would be left
//   typeOfView(view): its number in the file, or a string that says why not
//   bufferOf(view): the buffer of a view whose number says that it shares its buffer
void SerializeValue(const v8::FunctionCallbackInfo<v8::Value>& info);

// scriptOf(function): the name of the script that defines it.
void ScriptOf(const v8::FunctionCallbackInfo<v8::Value>& info);

}  // namespace stillframe
