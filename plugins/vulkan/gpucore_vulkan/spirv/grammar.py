"""The part of SPIR-V that is emitted: opcodes, enumerants and operand layouts (SPIR-V 1.5, unified
specification).

``GRAMMAR`` serves both the assembler (opcode numbers) and the disassembler (operand layouts).  A layout is
a string of operand kinds: ``t`` result type, ``r`` result, ``i`` id, ``n`` literal integer, ``s`` literal
string, ``v`` literal of the result type; ``I`` and ``N`` are any number of ids or literals; ``C E A M S D F
B X`` name the enumerations of :data:`ENUMS`; ``?`` makes what follows optional.
"""

from __future__ import annotations

from typing import Final

MAGIC: Final = 0x07230203
VERSION_1_5: Final = 0x00010500
GENERATOR: Final = 0

GRAMMAR: Final[dict[str, tuple[int, str]]] = {
    "OpUndef": (1, "tr"),
    "OpName": (5, "is"),
    "OpMemberName": (6, "ins"),
    "OpString": (7, "rs"),
    "OpLine": (8, "inn"),
    "OpNoLine": (317, ""),
    "OpExtension": (10, "s"),
    "OpExtInstImport": (11, "rs"),
    "OpExtInst": (12, "triGI"),
    "OpMemoryModel": (14, "AM"),
    "OpEntryPoint": (15, "EisI"),
    "OpExecutionMode": (16, "iXN"),
    "OpCapability": (17, "C"),
    "OpTypeVoid": (19, "r"),
    "OpTypeBool": (20, "r"),
    "OpTypeInt": (21, "rnn"),
    "OpTypeFloat": (22, "rn"),
    "OpTypeVector": (23, "rin"),
    "OpTypeArray": (28, "rii"),
    "OpTypeRuntimeArray": (29, "ri"),
    "OpTypeStruct": (30, "rI"),
    "OpTypePointer": (32, "rSi"),
    "OpTypeFunction": (33, "riI"),
    "OpConstantTrue": (41, "tr"),
    "OpConstantFalse": (42, "tr"),
    "OpConstant": (43, "trv"),
    "OpConstantComposite": (44, "trI"),
    "OpConstantNull": (46, "tr"),
    "OpSpecConstantTrue": (48, "tr"),
    "OpSpecConstantFalse": (49, "tr"),
    "OpSpecConstant": (50, "trv"),
    "OpSpecConstantComposite": (51, "trI"),
    "OpFunction": (54, "trFi"),
    "OpFunctionParameter": (55, "tr"),
    "OpFunctionEnd": (56, ""),
    "OpFunctionCall": (57, "triI"),
    "OpVariable": (59, "trS?i"),
    "OpLoad": (61, "tri?O"),
    "OpStore": (62, "ii?O"),
    "OpAccessChain": (65, "triI"),
    "OpDecorate": (71, "iD"),
    "OpMemberDecorate": (72, "inD"),
    "OpCompositeConstruct": (80, "trI"),
    "OpCompositeExtract": (81, "triN"),
    "OpConvertFToU": (109, "tri"),
    "OpConvertFToS": (110, "tri"),
    "OpConvertSToF": (111, "tri"),
    "OpConvertUToF": (112, "tri"),
    "OpUConvert": (113, "tri"),
    "OpSConvert": (114, "tri"),
    "OpFConvert": (115, "tri"),
    "OpConvertUToPtr": (120, "tri"),
    "OpBitcast": (124, "tri"),
    "OpSNegate": (126, "tri"),
    "OpFNegate": (127, "tri"),
    "OpIAdd": (128, "trii"),
    "OpFAdd": (129, "trii"),
    "OpISub": (130, "trii"),
    "OpFSub": (131, "trii"),
    "OpIMul": (132, "trii"),
    "OpFMul": (133, "trii"),
    "OpUDiv": (134, "trii"),
    "OpSDiv": (135, "trii"),
    "OpFDiv": (136, "trii"),
    "OpUMod": (137, "trii"),
    "OpLogicalEqual": (164, "trii"),
    "OpLogicalNotEqual": (165, "trii"),
    "OpLogicalOr": (166, "trii"),
    "OpLogicalAnd": (167, "trii"),
    "OpLogicalNot": (168, "tri"),
    "OpSelect": (169, "triii"),
    "OpIEqual": (170, "trii"),
    "OpINotEqual": (171, "trii"),
    "OpUGreaterThan": (172, "trii"),
    "OpSGreaterThan": (173, "trii"),
    "OpUGreaterThanEqual": (174, "trii"),
    "OpSGreaterThanEqual": (175, "trii"),
    "OpULessThan": (176, "trii"),
    "OpSLessThan": (177, "trii"),
    "OpULessThanEqual": (178, "trii"),
    "OpSLessThanEqual": (179, "trii"),
    "OpFOrdEqual": (180, "trii"),
    "OpFUnordNotEqual": (183, "trii"),
    "OpFOrdLessThan": (184, "trii"),
    "OpFOrdGreaterThan": (186, "trii"),
    "OpFOrdLessThanEqual": (188, "trii"),
    "OpFOrdGreaterThanEqual": (190, "trii"),
    "OpShiftRightLogical": (194, "trii"),
    "OpShiftRightArithmetic": (195, "trii"),
    "OpShiftLeftLogical": (196, "trii"),
    "OpBitwiseOr": (197, "trii"),
    "OpBitwiseXor": (198, "trii"),
    "OpBitwiseAnd": (199, "trii"),
    "OpNot": (200, "tri"),
    "OpBitCount": (205, "tri"),
    "OpControlBarrier": (224, "iii"),
    "OpMemoryBarrier": (225, "ii"),
    "OpAtomicLoad": (227, "triii"),
    "OpAtomicExchange": (229, "triiii"),
    "OpAtomicCompareExchange": (230, "triiiiii"),
    "OpAtomicIAdd": (234, "triiii"),
    "OpAtomicISub": (235, "triiii"),
    "OpAtomicSMin": (236, "triiii"),
    "OpAtomicUMin": (237, "triiii"),
    "OpAtomicSMax": (238, "triiii"),
    "OpAtomicUMax": (239, "triiii"),
    "OpAtomicAnd": (240, "triiii"),
    "OpAtomicOr": (241, "triiii"),
    "OpAtomicXor": (242, "triiii"),
    "OpAtomicFAddEXT": (6035, "triiii"),
    "OpPhi": (245, "trI"),
    "OpLoopMerge": (246, "iiL"),
    "OpSelectionMerge": (247, "iL"),
    "OpLabel": (248, "r"),
    "OpBranch": (249, "i"),
    "OpBranchConditional": (250, "iii"),
    "OpReturn": (253, ""),
    "OpReturnValue": (254, "i"),
    "OpUnreachable": (255, ""),
    "OpGroupNonUniformAll": (334, "trii"),
    "OpGroupNonUniformAny": (335, "trii"),
    "OpGroupNonUniformBallot": (339, "trii"),
    "OpGroupNonUniformShuffle": (345, "triii"),
    "OpSDot": (4450, "triin"),
    "OpUDot": (4451, "triin"),
    "OpSUDot": (4452, "triin"),
}

CAPABILITIES: Final[dict[str, int]] = {
    "Shader": 1,
    "Float16": 9,
    "Float64": 10,
    "Int64": 11,
    "Int64Atomics": 12,
    "Int16": 22,
    "Int8": 39,
    "GroupNonUniform": 61,
    "GroupNonUniformVote": 62,
    "GroupNonUniformBallot": 64,
    "GroupNonUniformShuffle": 65,
    "StorageBuffer16BitAccess": 4433,
    "StorageBuffer8BitAccess": 4448,
    "DenormPreserve": 4464,
    "SignedZeroInfNanPreserve": 4466,
    "RoundingModeRTE": 4467,
    "PhysicalStorageBufferAddresses": 5347,
    "DotProductInput4x8BitPacked": 6018,
    "DotProduct": 6019,
    "AtomicFloat32AddEXT": 6033,
    "AtomicFloat64AddEXT": 6034,
}

STORAGE: Final[dict[str, int]] = {
    "Input": 1,
    "Workgroup": 4,
    "Private": 6,
    "Function": 7,
    "PushConstant": 9,
    "PhysicalStorageBuffer": 5349,
}

DECORATIONS: Final[dict[str, int]] = {
    "SpecId": 1, "Block": 2, "ArrayStride": 6, "BuiltIn": 11, "Restrict": 19, "Aliased": 20, "Volatile": 21,
    "Coherent": 23, "NonWritable": 24, "Offset": 35, "NoContraction": 42,
}  # fmt: skip

BUILTINS: Final[dict[str, int]] = {
    "NumWorkgroups": 24, "WorkgroupSize": 25, "WorkgroupId": 26, "LocalInvocationId": 27,
    "LocalInvocationIndex": 29, "SubgroupSize": 36, "SubgroupLocalInvocationId": 41,
}  # fmt: skip

MODES: Final[dict[str, int]] = {
    "LocalSize": 17, "DenormPreserve": 4459, "SignedZeroInfNanPreserve": 4461, "RoundingModeRTE": 4462,
}  # fmt: skip

ENUMS: Final[dict[str, dict[int, str]]] = {
    "C": {v: k for k, v in CAPABILITIES.items()},
    "S": {v: k for k, v in STORAGE.items()},
    "D": {v: k for k, v in DECORATIONS.items()},
    "B": {v: k for k, v in BUILTINS.items()},
    "X": {v: k for k, v in MODES.items()},
    "E": {5: "GLCompute"},
    "A": {5348: "PhysicalStorageBuffer64"},
    "M": {1: "GLSL450"},
    "F": {0: "None"},
    "L": {0: "None", 2: "DontUnroll"},
}

GLSL: Final[dict[str, int]] = {
    "RoundEven": 2, "Trunc": 3, "FAbs": 4, "Floor": 8, "Ceil": 9, "Sin": 13, "Cos": 14, "Tan": 15, "Asin": 16,
    "Acos": 17, "Atan": 18, "Sinh": 19, "Cosh": 20, "Tanh": 21, "Atan2": 25, "Pow": 26, "Exp": 27, "Log": 28,
    "Exp2": 29, "Log2": 30, "Sqrt": 31, "InverseSqrt": 32, "UMin": 38, "Fma": 50, "FindUMsb": 75,
}  # fmt: skip
"""Instructions of the extended set GLSL.std.450."""

PACKED_4X8: Final = 0

SCOPE_DEVICE: Final = 1
SCOPE_WORKGROUP: Final = 2
SCOPE_SUBGROUP: Final = 3
RELAXED: Final = 0
ACQUIRE_RELEASE: Final = 0x8
UNIFORM_MEMORY: Final = 0x40
WORKGROUP_MEMORY: Final = 0x100
ALIGNED: Final = 0x2
VOLATILE: Final = 0x1
