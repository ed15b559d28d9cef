"""The keys of each command for its help page, which must not import the models. Written by `make schema`."""

KEYS = {
    "train": """
  seed=0                       of the split, the weights, the order and the augmentation
  trainer.gpus=auto            auto: a GPU if there is one | 0: the CPU | a count | a list of ids
  trainer.precision=auto       auto: half where the hardware is good at it | 32 | bf16-mixed | 16-mixed
  trainer.max_epochs=100       null: minutes alone decide
  trainer.minutes=null         a time budget; the schedule stretches to it, and max_epochs is ignored
  trainer.early_stopping=null  validations without a better score
  data.batch_size=8            auto: the largest that the memory holds, found by training steps
  data.size=null               working resolution: longest side, [h, w], a factor, or null for native
  data.crop=null               training crop in working pixels: a side, [h, w], or null for whole images
  deep_supervision=null        true: all heads of the network alike | a list: weights of their losses, finest
                               first, by ratio
  run_dir=null                 by default runs/<data>/<model>/<date_time>
  study=null                   name of the folder of a study (-m); by default made of what is swept
""",
    "check": """
  seed=0        of the split, as in training
  output=null   where check.html goes; by default checks/<data name>
  fit=false     true: does learning work at all? Overfits four training images in under two minutes, with
                model, loss, optimizer and trainer as in training
  runs=null     a study of folds, or runs: which masks may be wrong? Ranks them by how much the networks that
                never saw them dispute them, in label_errors.csv
  trust=[]      further packages whose networks may be built from these runs
  propose=null  true writes DIR/data/NAME.yaml, for segexp.train --config-dir DIR data=NAME; by default for
                data=auto
""",
    "predict": """
  checkpoint=???                      a run directory (its best weights), a .ckpt or exported file, a study
                                      (all its runs), or a list: an ensemble
  input=???                           a folder of images at any depth, a file, or a list of them
  output=???                          the folder of the masks, or a list with one for each input
  model.prune_to=null                 of a unetpp with deep supervision: the level, 1 or more, that it is
                                      pruned to; less accurate, faster
  suffix=""                           added to the names of the masks
  overlay=false                       the image with the mask over it
  probabilities=false                 npz or tiff (true: npz): float16, (classes, height, width)
  labels=false                        class indices beside the viewable mask; of classes that may overlap,
                                      sets of bits
  panel=false                         input, truth if it is known, prediction side by side
  truth=null                          for the panel: the folder of the true masks, or "DIR/{id}_mask.png",
                                      with {class} in it where classes may overlap; null: those beside the
                                      images
  uncertainty=false                   a map with a colour bar, and its values as npz
  tta=none                            flips (4 views) or dihedral (8)
  postprocess.start=stored            what the other keys are changes of
  postprocess.threshold=null          of two classes: the least probability of the foreground
  postprocess.min_area=null           pixels; smaller components go
  postprocess.largest_component=null  only the largest component of each class stays
  postprocess.fill_holes=null         holes that one class encloses are filled
  max_pixels=null                     larger images are seen through windows; null: as trained, 0: never
  gpus=auto                           auto: a GPU if there is one | 0: the CPU | a count
  overwrite=false                     true predicts also what is there already; else images whose outputs are
                                      all there are skipped
  check=true                          refuse a folder of masks given as images
  trust=[]                            further packages whose networks may be built
""",
    "evaluate": """
  checkpoint=???       a run directory (its best weights), a .ckpt or exported file; several or a study: an
                       ensemble
  model.prune_to=null  of a unetpp with deep supervision: the level, 1 or more, that it is pruned to; less
                       accurate, faster
  split=null           val, test or train; all for every case; null: val and test as in training, all for
                       other data
  data={}              keys of the data section that differ: data.root=DIR; everything else as in training
  metrics=null         null: those of the run; default, lesion, membrane or none in their place
  postprocess=stored   none: without the post-processing that is stored in the checkpoint
  tune=null            postprocess: choose threshold, components and holes on val; store them in the
                       checkpoint if the gain is beyond doubt
  gpus=auto            auto: a GPU if there is one | 0: the CPU | a count
  pictures=4           cases in the panel
  output=null          where to write scores, cases, pictures and report.html (with tune: tuning.csv); null
                       prints only
  trust=[]             further packages whose networks may be built
""",
    "compare": """
  runs=[]                     directories of runs and studies; typed as they are, without a key
  metric=dice                 dice, iou, precision, recall, accuracy, any column of cases.csv; of a class:
                              dice/liver
  split=null                  val, test, train or all; null: test where every run has it, else val
  better=null                 high or low; null: what the score itself says
  reference=null              what the others are compared with: a run, or a name from the table; null: the
                              best
  seeds=together              runs that differ only in the seed are one row; separate
  allow_different_data=false  true: go on with a table where cases or splits differ
  skip_unfinished=false       true: leave out runs that never finished, also where a fold is then missing
  output=null                 a folder for compare.csv, .md, .tex and .html, or one such file; null prints
                              only
""",
    "explain": """
  checkpoint=???       a run directory (its best weights) or a .ckpt file
  input=???            a folder of images at any depth, a file, or a list of them
  output=???           the folder of the heat maps, or a list with one for each input
  model.prune_to=null  of a unetpp with deep supervision: the level, 1 or more, that it is pruned to; less
                       accurate, faster
  method=seg_gradcam   gradcam | gradcam++ | seg_gradcam | integrated_gradients | occlusion
  target=null          a class, by name or index; null: the first foreground class
  layer=auto           of Grad-CAM: a module of the network by its dotted name; auto: the deepest map of the
                       encoder
  region=null          the pixels that are asked about: predicted (as the class) | truth | box; null:
                       predicted, or the box. gradcam and gradcam++ look at all pixels, and their maps are
                       only compared with the region
  box=null             [top, left, bottom, right] in pixels of the image, the last two not in it
  truth=null           the folder of the true masks, or "DIR/{id}_mask.png"; null: those beside the images
  steps=32             of integrated_gradients
  window=null          of occlusion: side of the square, in pixels as the network sees them; null: an eighth
                       of the longer side
  values=false         the map as npz
  max_pixels=null      larger images are refused, for one pass must see all of them; null: as trained, 0: none
                       is
  gpus=auto            auto: a GPU if there is one | 0: the CPU | a count
  overwrite=false      true explains also what is there already; else images whose outputs are all there are
                       skipped
  check=true           refuse a folder of masks given as images
  trust=[]             further packages whose networks may be built
""",
    "export": """
  checkpoint=???               a run directory (its best weights) or a .ckpt file
  output=???                   the file: NAME.onnx, NAME.pt2, NAME.pt or NAME.xml
  format=onnx                  onnx, torch_export (.pt2), torchscript (.pt) or openvino (.xml)
  model.prune_to=null          of a unetpp with deep supervision: the level, 1 or more, that it is pruned to;
                               less accurate, faster
  include_preprocessing=false  true: images (batch, height, width, channels) uint8 in; resizing and
                               normalisation inside
  returns=probabilities        or classes; what comes out where the preprocessing is inside, else class scores
                               do
  precision=fp32               bf16, fp16 or int8: kept only if Dice falls by at most 0.01 and it is faster
                               than fp32 here
  accept=false                 keep a file in fewer bits also where it is no success
  calibration=32               training images that int8 is calibrated with
  opset=20                     of ONNX
  data={}                      keys of the data section that differ: data.root=DIR, where the images are now
  trust=[]                     further packages whose networks may be built
""",
}
